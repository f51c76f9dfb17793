"""From a function's signature to the JSON Schema of a tool's arguments, and their parser.

Purpose: types, defaults and docstrings become what the model is told; the same struct parses what it sends.
Knows: msgspec, and pydantic where the user has imported it.
Must not know: the gateway, runs, any single tool.
Start reading at: `describing.py`.
"""
