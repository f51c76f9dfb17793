"""Sandboxes made by programs that are installed: what keeps a place ready for them, and starts them.

    runtime ── launcher ── keeper of one place ── a program for each command ── the command
       └─────── one socket to each keeper ─┘

Purpose: what has to be done outside of a program that isolates, before it starts and after it has ended.
Knows: `sandbox/kernel/`, `sandbox/native/`, processes, sockets; the standard library only.
Must not know: tools, runs, models.
Start reading at: `keeping.py`, then `launching.py`.
"""
