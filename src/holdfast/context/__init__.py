"""What the model sees.

Purpose: makes the request of a model call from a conversation: stable prefix first, so that providers' caches hit.
Knows: `models`' request, messages.
Must not know: the log, runs.
Start reading at: `assembling.py`.
"""
