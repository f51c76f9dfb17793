"""Protocols of model providers, each in both directions.

Purpose: one folder for each protocol: requests to bytes, bytes to deltas and messages, and the serving side, which
the scripted model server and server doors share.
Knows: `types`, the models room's `port.py` and `failures.py`, SSE framing.
Must not know: providers, keys, addresses, connections.
Start reading at: `reading.py`, `blocks.py` and `turns.py`, which all share, then `chat/`.
"""
