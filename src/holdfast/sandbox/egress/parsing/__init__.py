"""What a client says, read so strictly that nobody behind us can read it in another way.

Purpose: heads, authorities, paths and TLS greetings out of bytes; whatever has two readings is refused.
Knows: bytes and text.
Must not know: sockets, policies, what becomes of what it read.
Start reading at: `heads.py`.
"""
