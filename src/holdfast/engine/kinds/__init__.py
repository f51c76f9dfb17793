"""The kinds of events in a session's log, each a struct.

Purpose: what is written down, and what each field of it means.
Knows: letters and `types/`.
Must not know: what follows from an event (`engine/folding.py`), and when one is written.
Start reading at: `running.py`, then `speaking.py`, `asking.py` and `acting.py`; `engine/events.py` has them all.
"""
