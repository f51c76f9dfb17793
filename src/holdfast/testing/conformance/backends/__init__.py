"""The kit of what commands run in.

Purpose: every sentence of the port in `sandbox/port.py`, as a check.
Knows: the port, processes, files.
Must not know: any test framework, any adapter.
Start reading at: `running.py` for what every backend does, then `isolating.py`.
"""
