"""Sandboxes made by us, of what the kernel offers, with no program installed.

    runtime ── launcher (small, forks quickly) ── pid 1 of each sandbox ── commands
       └────────────── one socket to each sandbox ──────┘

Purpose: makes sandboxes in milliseconds, runs commands in them, ends all of it together.
Knows: `sandbox/kernel/`, processes, sockets; in what the launcher loads, the standard library only.
Must not know: tools, runs, models.
Start reading at: `building.py` for what keeps a command in, then `serving.py`, `launching.py`, `client.py`.
"""
