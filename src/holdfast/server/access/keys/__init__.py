"""Keys that people and programs are given: `hf_<id>_<secret>`.

Purpose: drawing, rotating, revoking and recognising keys.
Knows: the shelf they lie on; principals.
Must not know: requests, routes, users who log in.
Start reading at: `key.py`, then `keeping.py`.
"""
