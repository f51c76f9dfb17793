"""What people see in a terminal.

Purpose: commands, and the drawing of what happens in a run.
Knows: `runtime` and the public API; `testing` for the stub and the demo.
Must not know: anything a program could not do with the public API.
Start reading at: `main.py`, then `screen.py`.
"""
