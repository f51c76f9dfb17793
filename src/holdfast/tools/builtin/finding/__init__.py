"""The tool that finds other tools.

Purpose: an agent with more tools than a request shows can still reach each of them.
Knows: the agent's registry, and its index (`tools/finding`).
Must not know: requests, conversations.
Start reading at: `find_tools.py`.
"""
