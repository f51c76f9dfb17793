"""Agents as a service: many people, one log, and a door for every protocol that clients speak already.

Purpose: HTTP in front of a runtime: who may, how much, and each protocol's words for what the runtime does.
Knows: the runtime and everything below it; Starlette and uvicorn, which nobody else knows.
Must not know: how a run is decided or driven. A door only translates: what it does, a program can do with `Runtime`.
Start reading at: `routing/route.py`, what a route is; then `app.py`, where they come together; then any door.
"""
