"""The door of AgentOps: one agent with one conversation, its routes, and the event protocol that its clients read.

Purpose: what clients of AgentOps' daemon send and expect, field by field, without its defects (source: AgentOps 1, 2).
Knows: routes and streams; the runtime of a call.
Must not know: other doors; how events come to be.
Start reading at: `shapes.py`, the protocol; then `translating.py`, from the log to it.
"""
