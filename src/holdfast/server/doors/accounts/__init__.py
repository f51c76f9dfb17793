"""The door for who may: logging in, users, keys, and the record of what was decided.

Purpose: `/v1/auth/...`, `/v1/keys...` and `/v1/audit`.
Knows: routes; who may, opened as one (`governing/opening.py`).
Must not know: how keys, users and logins are kept.
Start reading at: `entering.py`.
"""
