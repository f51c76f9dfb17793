"""Processes that go on in a native sandbox, and what spares them when a command is over.

Purpose: start them in the sandbox in which their owner's commands run, and keep that sandbox as long as they need it;
`starting.py` starts commands that end, too.
Knows: `sandbox/native/`, `sandbox/longrunning/`; `sparing.py` runs in the sandbox and knows the standard library only.
Must not know: tools, runs, the log.
Start reading at: `boxed.py`, then `sparing.py`.
"""
