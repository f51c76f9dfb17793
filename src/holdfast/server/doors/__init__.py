"""Doors: each speaks one protocol, and only translates.

Purpose: a protocol's paths, shapes and words for what a runtime does.
Knows: routes, streams, the runtime it is handed with each call.
Must not know: other doors; who may; how bytes are sent.
Start reading at: `health.py`, the smallest; then `sessions/`.
"""
