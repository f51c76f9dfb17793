"""Models behind one interface.

Purpose: which model is asked and who stands in for it (`routing/`), with whose key (`access/`), at which provider and
over which protocol (`providers/`, `wire/`), what is known of it (`catalogue/`), what it can be shown (`media/`);
vectors (`embedding/`); and `calling.py`, the one gateway through which anything spends tokens.
Knows: `net`, `safety`, `flow`, `types`.
Must not know: runs, tools' functions, the log.
Start reading at: `port.py`, then `calling.py`.
"""
