"""Where connections come in: sockets, and what one client may keep the others from.

Purpose: from an address to requests: binding, TLS, bounds on heads, bodies and connections, and leaving in good order.
Knows: uvicorn and its protocol for HTTP/1.1, which nobody else imports.
Must not know: routes, people, runs.
Start reading at: `listener.py`; then `protocol.py`.
"""
