"""Answers that are data: what they have to look like, and whether one does.

Purpose: from a type or a JSON Schema to what a model is told, and from what it says back to a value that fits.
Knows: the schemas of types, JSON that may be damaged, what providers can hold an answer to.
Must not know: runs, the log, any single provider's requests.
Start reading at: `declaring.py`, then `reading.py`.
"""
