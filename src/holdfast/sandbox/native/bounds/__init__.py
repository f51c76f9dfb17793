"""Quotas of a native sandbox that no control group counts, and the names of those that were met.

Purpose: bound the CPU of a command with all it starts, and tell which quota a command ran into.
Knows: `sandbox/native/`; `measuring.py` runs in the sandbox and knows the standard library and its neighbours only.
Must not know: tools, runs, the log.
Start reading at: `breaching.py`, then `measuring.py`.
"""
