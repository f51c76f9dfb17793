"""A stream over a WebSocket: each line of its pieces is a text of its own.

The socket only tells: what a client sends is read, so that its going is noticed, and means nothing. Protocol pings,
with which a half-open connection is found, are the business of whoever listens; the heartbeat of the stream is a text
that scripts in a page can see.
"""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Send

from holdfast.server.parts import Service
from holdfast.server.streams.port import Stream
from holdfast.server.streams.sending import pump_stream

__all__ = ("CLOSING", "send_texts")

CLOSING = 1001
"""The server goes away."""
_DONE = 1000


async def send_texts(stream: Stream, service: Service, receive: Receive, send: Send) -> None:
    """Sends a stream's lines over a socket that was accepted, to its end, or until nobody takes them any more."""
    turn = asyncio.Lock()  # a heartbeat does not come between the texts of one piece

    async def emit(piece: bytes, more: bool) -> None:
        async with turn:
            for line in piece.split(b"\n"):
                if line:
                    await send({"type": "websocket.send", "text": line.decode()})
            if not more:
                await send({"type": "websocket.close", "code": CLOSING if service.closing.is_set() else _DONE})

    await pump_stream(stream, emit, service, receive, "websocket.disconnect")
