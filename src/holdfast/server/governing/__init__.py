"""How much whoever was recognised may use, and the record of what was decided.

Purpose: rates in requests, tokens and dollars; the audit; all that concerns who may, opened as one.
Knows: access, the service it governs, the ledger and the store of the runtime.
Must not know: routes and doors.
Start reading at: `opening.py`, then `throttling.py` and `auditing.py`.
"""
