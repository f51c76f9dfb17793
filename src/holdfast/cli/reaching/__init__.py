"""Where the screens find their sessions: in a store on this machine, or behind a server.

Purpose: one port of what a screen needs of sessions, and its two sides, so that the same code draws both.
Knows: the runtime; the routes of the server's sessions, as any client does; the one HTTP client of the house.
Must not know: how anything is drawn, and nothing of the server's own code.
Start reading at: `port.py`, then `local.py` and `remote.py`.
"""
