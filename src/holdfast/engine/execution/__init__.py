"""How a run is kept to what its agent promised (`types/execution.py`): contracts, repeats, the first tool.

Purpose: what follows from what such a run did so far, which `engine/tracking.py` keeps.
Knows: events and the state; nothing here does anything, reads a clock or knows a gateway.
Must not know: runs without an `Execution`, which pay one look at whether there is one.
Start reading at: `judging.py`, then `engine/tracking.py`.
"""
