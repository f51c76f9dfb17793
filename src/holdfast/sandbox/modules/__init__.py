"""Programs that others compiled to WebAssembly, each run once, with nothing to reach.

Purpose: run a module on some bytes and return the bytes it prints, within limits that it cannot leave.
Knows: wasmtime in `engines.py`; what a module may ask an operating system for in `wasi.py`.
Must not know: tools, runs, where modules come from, what their output means.
Start reading at: `port.py`, then `running.py`.
"""
