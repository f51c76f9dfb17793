"""Where streams rest: in memory, or in a SQLite file.

Purpose: the adapters of `holdfast.journal.port`, and the rules they share.
Knows: the port and `storage`.
Must not know: what a record means.
Start reading at: `heads.py`, the rules; then `memory.py`, which is nothing but them.
"""
