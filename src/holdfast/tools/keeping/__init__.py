"""What tools keep beyond a run: values under keys, and files.

Purpose: memory that an agent writes and reads by itself, in the store of its runtime.
Knows: databases, blobs.
Must not know: the log, engine, models.
Start reading at: `port.py`, then `kept.py`.
"""
