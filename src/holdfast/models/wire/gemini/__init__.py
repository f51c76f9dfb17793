"""Google's generateContent, the protocol of Gemini and of servers that speak like it.

Purpose: requests out (`requests.py`), answers in (`streaming.py`), and the other direction (`serving.py`).
Knows: what `wire` knows.
Must not know: Google itself: its address, its keys, its prices.
Start reading at: `shapes.py`, then `streaming.py`.
"""
