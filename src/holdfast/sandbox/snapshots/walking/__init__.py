"""Going through a folder that nobody trusts: what is in it, what changed, what has to be done.

Purpose: reading one name safely; the walk of a capture, at the cost of what changed; the walk of a restore.
Knows: the entries and bounds of snapshots, the workspace.
Must not know: where contents rest, tools, runs.
Start reading at: `scanning.py`.
"""
