"""Sandboxes where the machine gives no namespaces: nothing is hidden from a command, but much of it is refused.

Purpose: what the backend `process` is made of: Landlock, seccomp and limits alone.
Knows: `sandbox/kernel/` and `sandbox/native/`, whose launcher and channels it shares; in what the launcher loads, the
standard library only.
Must not know: backends, tools, runs, models.
Start reading at: `building.py` for what keeps a command in, then `ending.py` for how it ends.
"""
