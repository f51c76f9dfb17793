"""Where accounts are kept: in memory, or in a SQLite database that the journal may share.

Purpose: the adapters of `holdfast.ledger.port`, and the rules they have in common.
Knows: the port and `holdfast.storage.sqlite`.
Must not know: who spends, and on what.
Start reading at: `tallies.py`, then `booking.py`.
"""
