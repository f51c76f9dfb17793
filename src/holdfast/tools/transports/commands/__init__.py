"""What transports share that start a program for each call: its arguments, its surroundings, and what it came to.

Purpose: from a declared command and the arguments of a call to a process that is kept, bounded and ended.
Knows: `sandbox`, the port of transports, secrets by their names.
Must not know: the gateway, and what an answer means beyond its bytes.
Start reading at: `running.py`; `rooms.py` says where a command may run, `templates.py` what its arguments are.
"""
