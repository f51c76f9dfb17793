"""Where effects happen.

Purpose: the workspace folder (no path leads out of it), snapshots that put files back, and commands that end
with everything they started.
Knows: files, processes, `storage` for the bytes of snapshots.
Must not know: tools, runs, models.
Start reading at: `workspace.py`, then `processes.py`.
"""
