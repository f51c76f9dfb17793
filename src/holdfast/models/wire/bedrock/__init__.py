"""Converse, the protocol of Amazon Bedrock, whatever model stands behind it.

Purpose: requests out (`requests.py`), answers in (`framing.py`, `streaming.py`), the other direction (`serving.py`).
Knows: what `wire` knows.
Must not know: Amazon itself: its regions, its addresses, its credentials and how requests are signed.
Start reading at: `shapes.py`, then `streaming.py`.
"""
