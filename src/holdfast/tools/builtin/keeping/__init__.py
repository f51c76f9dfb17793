"""Tools with which an agent keeps values and files beyond its run.

Purpose: what one run finds out is there for the next.
Knows: `tools/keeping`, which holds it.
Must not know: where that is stored.
Start reading at: `values.py`.
"""
