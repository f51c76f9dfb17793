"""People who log in with a name and a password.

Purpose: users, their passwords, their logins; the first of them, and the last who may decide.
Knows: the shelf they lie on; principals; Argon2.
Must not know: routes, keys.
Start reading at: `keeping.py`, then `entering.py`.
"""
