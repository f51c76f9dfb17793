"""Small Python programs that others wrote, each in an interpreter of its own.

Purpose: run a snippet where there is nothing to reach: no files, no sockets, no processes, no environment.
Knows: CPython as WebAssembly, and wasmtime in `engines.py`; in `backend.py`, commands that are snippets.
Must not know: tools, runs.
Start reading at: `port.py`, then `wasm.py`, then `backend.py`.
"""
