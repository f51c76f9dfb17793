"""Where blobs rest: in memory, or in a SQLite database beside what refers to them.

Purpose: the adapters of `holdfast.storage.blobs`.
Knows: the port and `holdfast.storage.sqlite`.
Must not know: what a blob holds.
Start reading at: `memory.py`.
"""
