"""Cohere's Chat, version 2.

Purpose: requests out (`requests.py`, `settings.py`), answers in (`streaming.py`), the other direction (`serving.py`).
Knows: what `wire` knows.
Must not know: Cohere itself: its address, its keys, its prices.
Start reading at: `shapes.py`, then `streaming.py`.

The plan a model makes before it calls tools (`tool_plan`) is thinking here, with the signature `tool_plan`, so that
it is given back where it came from. One tool of several cannot be forced, so the one that must be called is the only
one on offer. An answer is held to a schema only where no tool is on offer, which is all the protocol allows.
"""
