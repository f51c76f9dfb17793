"""OpenAI's Responses, the protocol its newer models and tools are asked in, and servers that speak like it.

Purpose: requests out (`requests.py`), answers in (`streaming.py`), and the other direction (`serving.py`).
Knows: what `wire` knows.
Must not know: OpenAI or Azure themselves: their addresses, keys, prices.
Start reading at: `shapes.py`, then `streaming.py`.
"""
