"""Servers of models as data: where each is, whose key it takes, how it differs from others of its protocol.

Purpose: what a provider's class takes to speak to another server than its own.
Knows: the switches of Chat Completions (`wire/chat/compat.py`).
Must not know: the classes themselves, keys, connections.
Start reading at: `servers.py`.
"""
