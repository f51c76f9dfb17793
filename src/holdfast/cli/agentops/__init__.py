"""`holdfast daemon` and `holdfast task`: an agent of AgentOps' configuration, as a service and as a job.

Purpose: from `config.json` and the environment to a process that lives as its operator expects.
Knows: the door of AgentOps and its configuration; how servers are started here.
Must not know: how a run is decided; the protocol itself.
Start reading at: `task.py`, the smaller one.
"""
