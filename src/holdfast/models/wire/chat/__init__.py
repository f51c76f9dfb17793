"""OpenAI's Chat Completions, the protocol nearly every server speaks.

Purpose: requests out (`requests.py`), answers in (`streaming.py`), and the other direction (`serving.py`).
Knows: what `wire` knows.
Must not know: OpenAI itself: its address, its keys, its prices.
Start reading at: `shapes.py`, then `streaming.py`.
"""
