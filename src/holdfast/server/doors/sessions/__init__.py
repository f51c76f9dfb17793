"""The sessions of a tenant over HTTP: start them, follow them from any event, speak to them, answer what they ask.

Purpose: our own protocol, on which the console and `--server` stand.
Knows: routes, streams, what a runtime offers.
Must not know: other doors; how a run is driven.
Start reading at: `table.py`, every route; then `prompting.py` and `streaming.py`.
"""
