"""What every adapter of a port must do, as checks that anybody can run against their own.

Purpose: one kit per port; a check is an async function that takes a factory and raises `AssertionError`.
Knows: the ports and the fake clock.
Must not know: any test framework, any adapter.
Start reading at: `checking.py`, then `journal.py`.
"""
