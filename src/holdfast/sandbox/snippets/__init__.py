"""Small Python programs that others wrote, each in an interpreter of its own.

Purpose: run a snippet where there is nothing to reach: no files, no sockets, no processes, no environment.
Knows: CPython as WebAssembly, and wasmtime in `engines.py`.
Must not know: commands, workspaces, tools, runs.
Start reading at: `port.py`, then `wasm.py`.
"""
