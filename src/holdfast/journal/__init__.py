"""The durable log.

Purpose: streams of events with one owner and one inbox each; claims, fencing, feed, live tail, fork and rewind.
Knows: `storage`, `flow`, the event envelope.
Must not know: what an event means. Payloads belong to the rooms that append them.
Start reading at: `port.py` (the contract), then `owning.py` (the owner's pen).
"""
