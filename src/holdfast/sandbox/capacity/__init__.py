"""What there is to give: the abilities of backends by name, and how full the storage of sandboxes is.

Purpose: refuses a profile that asks for more than a backend can, and tells of storage before it runs out.
Knows: profiles, the port of backends, file systems.
Must not know: how any backend works.
Start reading at: `abilities.py`, then `storage.py`.
"""
