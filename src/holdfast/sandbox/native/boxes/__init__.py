"""Sandboxes as the runtime holds them: one with its commands, the way out of it, and those between two commands.

Purpose: from a sandbox that was made to a command that ran in it, and to the next one.
Knows: the channel to its first process, its control group, the profile's pooling.
Must not know: how a sandbox is made.
Start reading at: `box.py`.
"""
