"""Hooks around tool calls: what looks at each call before it is made, and at each result before the model reads it.

Purpose: refuse, have a person asked, note, add to a result or replace it, by rules, functions or programs.
Knows: calls and results, programs of the operator.
Must not know: the log, runs, what a policy says (`authorising/`).
Start reading at: `port.py`, then `running.py`.
"""
