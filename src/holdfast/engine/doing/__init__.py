"""What the loop does when it has decided, one file for each kind of thing.

Purpose: asking the model, making calls, calls that calls make, and what was under way when a process died.
Knows: the attempt, the gateways for models and effects.
Must not know: how it is decided what comes next.
Start reading at: `acting.py`.
"""
