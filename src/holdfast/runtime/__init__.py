"""The composition root.

Purpose: puts the rooms together: `Agent`, `Runtime`, `Run`; adapters chosen by URL scheme; sessions claimed and
driven in this process.
Knows: everything below it.
Must not know: terminals, servers, protocols.
Start reading at: `runtime.py`, then the room `driving`.
"""
