"""Where bytes rest.

Purpose: one SQLite writer thread with group commit and a few readers, numbered migrations, blobs by content.
Knows: SQLite, threads, files.
Must not know: what a stream, a run or a model is.
Start reading at: `sqlite.py`; the port other rooms use is in `blobs.py`.
"""
