"""What a stream is, as a door hands it over to be sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

import msgspec

from holdfast.server.problems import Refused

__all__ = ("Stream",)


class Stream(msgspec.Struct, kw_only=True):
    """An answer that goes on: pieces of bytes, sent as they come, with what keeps the connection alive in between."""

    pieces: AsyncGenerator[bytes, None]
    """Is closed when whoever listens is gone. What it raises ends the answer where it is."""
    media_type: str = "text/event-stream"
    headers: Mapping[str, str] = {}
    beat: bytes = b": keep-alive\n\n"
    """Is sent when nothing came for the service's heartbeat; empty for nothing."""
    farewell: Callable[[], bytes] = lambda: b""
    """Gives the last piece of one that ends because the server does."""
    failed: Callable[[Refused], bytes] = lambda refused: (
        b"event: error\ndata: " + msgspec.json.encode(refused.problem()) + b"\n\n"
    )
    """Gives the last piece of one that cannot go on."""
    still: Callable[[], Awaitable[Refused | None]] | None = None
    """Is asked once in a heartbeat whether whoever listens still may, and says why not."""
