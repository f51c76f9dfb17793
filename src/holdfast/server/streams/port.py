"""What a stream is, as a door hands it over to be sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

import msgspec

from holdfast.server.problems import Refused

__all__ = ("Shortcut", "Stream")


class Shortcut:
    """Where a piece can leave at once, past whoever waits for the next one."""

    __slots__ = ("push",)

    def __init__(self) -> None:
        self.push: Callable[[bytes], bool] | None = None
        """Sends a piece if that takes no waiting, and says whether it did; None while the stream is not sent, or over
        something that cannot."""


class Stream(msgspec.Struct, kw_only=True):
    """An answer that goes on: pieces of bytes, sent as they come, with what keeps the connection alive in between."""

    pieces: AsyncGenerator[bytes, None]
    """Is closed when whoever listens is gone. What it refuses is said at the end, an error of ours is; what else it
    raises breaks the answer off where it is.
    """
    shortcut: Shortcut | None = None
    """Is given a way out while `pieces` is waited for."""
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
