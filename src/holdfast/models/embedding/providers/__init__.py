"""Who makes vectors over HTTP.

Purpose: one file for each provider: its address, its key, its requests and answers.
Knows: the port of embedders, batches, `models.failures`, the HTTP client.
Must not know: who asks, and what vectors are for.
Start reading at: `talking.py`.
"""
