"""Sessions, as somebody looks at them who did not start them: which there are, how each stands, what happens in it.

Purpose: lists in pages, the view of one session, its events as they come, files that are kept for a later prompt.
Knows: heads, the log, the fold.
Must not know: who looks, and over what.
Start reading at: `offering.py`.
"""
