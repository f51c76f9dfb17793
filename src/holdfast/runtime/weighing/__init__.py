"""How much a conversation is: the tokens that the next request of a session has.

Purpose: from an agent and a session to what its model would be sent, and how many tokens that is.
Knows: the binder, the log, counts of tokens (`models/counting.py`).
Must not know: how a run is driven; nothing here writes or spends.
Start reading at: `counting.py`.
"""
