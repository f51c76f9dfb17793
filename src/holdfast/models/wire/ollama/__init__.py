"""Ollama's own chat protocol: one JSON value on each line.

Purpose: requests out (`requests.py`), answers in (`streaming.py`), and the other direction (`serving.py`).
Knows: what `wire` knows.
Must not know: where a server is, keys, prices.
Start reading at: `shapes.py`, then `streaming.py`.

**A prompt that is longer than the context is cut by the server, at its front, and answered as if nothing were.** The
context is small (4,096 tokens on many machines) whatever the model could take. Requests therefore say `truncate` and
`shift` false, so that servers since late 2025 refuse instead; earlier ones do not know these fields, and go on cutting.
What helps there is the option `num_ctx` (`{"options": {"num_ctx": 32768}}`), or `OLLAMA_CONTEXT_LENGTH` of the server.

No tool can be forced: the one that must be called is the only one on offer, and the model may answer all the same.
"""
