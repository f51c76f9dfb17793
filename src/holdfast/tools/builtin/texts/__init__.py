"""How files become texts and texts become files again: pages, encodings, line ends, names, pictures that are named.

Purpose: what `read`, `write` and `edit` do with bytes.
Knows: bytes.
Must not know: the workspace, tools.
Start reading at: `paging.py`, then `encodings.py`.
"""
