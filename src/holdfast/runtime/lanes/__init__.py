"""How many sessions one process drives at once, and who comes next.

Purpose: places for sessions that want to be driven, shared out fairly across users.
Knows: `flow.lane`, the journal, what a session's log says of its user.
Must not know: how a session is claimed and driven, which is the worker's.
Start reading at: `line.py`.
"""
