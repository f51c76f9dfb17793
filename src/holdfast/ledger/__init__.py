"""Who may still spend how much.

Purpose: accounts with caps, grants that are taken out of them before anything is spent, rolling windows.
Knows: `storage`, `flow`; tokens, nanodollars and µs as whole numbers.
Must not know: what a run, a model or a price is, nor what is bought.
Start reading at: `port.py` (the contract), then `stores/tallies.py` (the rules).
"""
