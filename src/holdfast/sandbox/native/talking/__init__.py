"""How the runtime, the launcher and the first processes of sandboxes talk.

Purpose: messages with descriptors beside them, over sockets that keep them apart.
Knows: sockets, an event loop; `wire.py`, which the launcher loads, the standard library only.
Must not know: what the messages mean.
Start reading at: `wire.py`.
"""
