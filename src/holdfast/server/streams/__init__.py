"""Answers on their way out: whole ones, and those that go on for hours.

Purpose: bytes to a client that may be slow, half gone or one of ten thousand, without making the others wait.
Knows: ASGI; how long a silence and a stall may be.
Must not know: what is sent.
Start reading at: `sending.py`.
"""
