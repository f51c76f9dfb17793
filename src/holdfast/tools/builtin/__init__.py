"""The tools that come along.

Purpose: the tools for files (`read`, `write`, `edit`, `grep`, `glob`, `ls`) and commands, all in the run's workspace.
Knows: the workspace, how tools are declared.
Must not know: the gateway, runs, models.
Start reading at: `table.py`, then `read.py`.
"""
