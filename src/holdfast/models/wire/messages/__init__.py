"""Anthropic's Messages, the protocol of Claude and of servers that speak like it.

Purpose: requests out (`requests.py`), answers in (`streaming.py`), and the other direction (`serving.py`).
Knows: what `wire` knows.
Must not know: Anthropic itself: its address, its keys, its prices.
Start reading at: `shapes.py`, then `streaming.py`.
"""
