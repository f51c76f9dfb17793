"""The file that describes an agent to AgentOps' runtime (`config.json`), and what it comes to here.

Purpose: every field has an effect or is refused by its name, with what to do (source: AgentOps 7.1, 7.2, 7.8).
Knows: agents, limits, access to models, policies, hooks.
Must not know: HTTP; who runs the agent.
Start reading at: `fields.py`, the file; then `making.py`, from it to an agent.
"""
