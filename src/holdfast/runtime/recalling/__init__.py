"""What was said to a session before: in its inbox, and in its log.

Purpose: whether what comes under a key again is the same, and whom a session's last prompt asked.
Knows: letters, the journal, the events they become.
Must not know: who is spoken to, and what a run does about it.
Start reading at: `letters.py`.
"""
