"""How fast sandboxes are on the machine at hand.

Purpose: the start of a sandbox and a command in a live one, measured in turns with spawning the same program bare.
Knows: backends by their port, processes.
Must not know: budgets, terminals, runs.
Start reading at: `commands.py`.
"""
