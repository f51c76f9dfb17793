"""What came before: going back to it, comparing with it, and letting go of it.

Purpose: forks and rewinds with their files, differences between two events, and the collection of what no log needs.
Knows: the log, sandboxes, blobs.
Must not know: models, how sessions are driven.
Start reading at: `branching.py`.
"""
