"""What of a workspace has to be held so that a profile's protected paths stay as they are, however it is laid out.

Purpose: where the paths of a list really lie: behind links, in a repository whose `.git` is a file, in a shared folder.
Knows: the layout of git's own folder; the standard library.
Must not know: backends, mounts, tools.
Start reading at: `layout.py`.
"""
