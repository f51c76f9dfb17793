"""The tools that find things: `grep`, `glob` and `ls`.

Purpose: what lies in the workspace and where a text stands in it, in bounded time and memory.
Knows: the workspace, `browsing` below open folders, helper processes of its own.
Must not know: the other tools, runs, models.
Start reading at: `grep.py`, then `finding.py`.
"""
