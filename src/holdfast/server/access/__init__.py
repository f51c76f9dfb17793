"""Who asks, what they may, and how much of it.

Purpose: from a request to a `Principal`: keys, users, tokens of others; scopes, rates, and a record of each decision.
Knows: what a request says of its sender; the store in which keys and users are kept.
Must not know: routes, doors and what is done for whom.
Start reading at: `principal.py`, then `port.py`.
"""
