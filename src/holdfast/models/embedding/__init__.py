"""Texts to vectors, behind one interface.

Purpose: embedders of providers, of a folder on this machine, and one that needs nothing; batches, retries, price.
Knows: `net` by its client, `models.failures`, `types`, `flow`.
Must not know: runs, tools, the log; where vectors are kept and how they are searched.
Start reading at: `port.py`, then `batching.py` and `providers/talking.py`.
"""
