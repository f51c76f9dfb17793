"""How the git tool runs git on a repository that may be hostile.

Purpose: to find the repository in the workspace, to take from its configuration what would run programs, and to run
git without a shell.
Knows: the sandbox's commands and environment.
Must not know: runs, models.
Start reading at: `taming.py`.
"""
