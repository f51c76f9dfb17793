"""Tools, and the one gateway through which anything acts.

Purpose: `@tool` from signature and docstring, the built-in workspace tools, and `gateway.py`: admit, perform,
finish.
Knows: `sandbox`, `net`, `types`.
Must not know: runs, models, the log.
Start reading at: `binding.py`, then `gateway.py`.
"""
