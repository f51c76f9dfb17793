"""Finding tools among many by words.

Purpose: an index of an agent's tools, and which of them fit what was said best.
Knows: specs of tools.
Must not know: conversations, requests, who may call what.
Start reading at: `index.py`, then `ranking.py`.
"""
