"""Looking after runs: a critic for those that stand still, and going on after those that ended half-way.

Purpose: what somebody outside a run may say of it. All of it is a letter, and so an event of the run's log.
Knows: the journal, the state of sessions that this process drives.
Must not know: how a run is decided, or driven.
Start reading at: `critic.py`, then `watching.py`.
"""
