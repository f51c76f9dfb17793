"""The tool that runs Python a model wrote, in an interpreter that nobody used before and nobody uses after.

Purpose: `python`.
Knows: interpreters without system calls (`sandbox/snippets`), and the sandbox that commands of the run have.
Must not know: runs, models; it never runs anything without isolation.
Start reading at: `python.py`.
"""
