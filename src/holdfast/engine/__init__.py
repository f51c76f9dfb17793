"""What a run does.

Purpose: the one loop. It folds the log into a state, asks a pure function what to do next, does it through the
gateways, and writes down what came of it.
Knows: `journal`, `models`, `tools`, `context`.
Must not know: which store, which provider, who is watching.
Start reading at: `loop.py`, then `decide.py`.
"""
