"""What a task came to, as one line that a board can show: said by the agent itself, or inferred from what it did.

Purpose: intent, summary and artifacts of a run (source: AgentOps 3.4, 6.6).
Knows: the log of a run.
Must not know: who shows it.
Start reading at: `finishing.py`, what an agent says; then `inferring.py`.
"""
