"""What commands run in, one file each.

Purpose: the adapters of the port in `sandbox/port.py`.
Knows: processes and how they are found and ended.
Must not know: tools, runs, models.
Start reading at: `none.py`.
"""
