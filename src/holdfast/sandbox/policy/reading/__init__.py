"""From the text of a document to its value.

Purpose: YAML with the place of everything in it, and values of our types made from that, all problems at once.
Knows: YAML, and how msgspec describes types.
Must not know: what policies mean.
Start reading at: `documents.py`.
"""
