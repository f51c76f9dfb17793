"""Tools for finding out and for keeping straight: sums, the time, a place to think, the web, and where words are from.

Purpose: `calculator`, `think`, `now`, `web_search` and `cite`.
Knows: `net/` for the way out, and what a call may know of its run.
Must not know: models, the engine; it starts no program and touches no file of a workspace.
Start reading at: `arithmetic.py` for sums, `engines.py` for searching.
"""
