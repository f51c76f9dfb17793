"""The way out: the one HTTP client of the house and the event streams it brings back.

Purpose: guarded, bounded HTTP requests; server-sent events out of bytes; word to a bus that an operator runs.
Knows: aiohttp, `safety` for the verdict on an address, `errors`.
Must not know: models, tools, what is inside a body; nobody else opens a connection over HTTP.
Start reading at: `client.py`.
"""
