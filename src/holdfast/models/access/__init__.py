"""Who may call which provider, beyond what the environment says.

Purpose: keys and headers that a program registers or gives one agent, servers that people describe themselves, tokens
that are fetched and renewed, one pace for each key; from a model's name to the model with all of that.
Knows: `providers/` as the table of what there is, `catalogue`, `net`, `types`.
Must not know: wires' bytes, runs, the log. Nothing secret leaves it but in a header.
Start reading at: `access.py`, then `making.py`.
"""
