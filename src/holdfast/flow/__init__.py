"""Time, ids and the handing-on of events inside one process.

Purpose: clocks, cheap unique ids, bounded broadcast to readers, an interruptible scope, fan-out, fair lanes.
Knows: asyncio and `types`.
Must not know: files, databases, networks, what a run is.
Start reading at: `broadcast.py`.
"""
