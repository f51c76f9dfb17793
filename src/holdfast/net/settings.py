"""How a client behaves: values that can be had without the HTTP library."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

__all__ = ("NetSettings", "Resolve")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Looks a name up: host and port in, numeric addresses out. It raises OSError when there are none."""


class NetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a client behaves."""

    connections: int = 1_000
    """Connections at once; a request beyond them waits for one. 0 sets no limit."""
    connect_timeout: float = 10.0
    """Seconds for looking a name up, and again for connecting to each of its addresses, TLS included."""
    silence_timeout: float = 300.0
    """Seconds the other side may send nothing, before the first byte or between two."""
    name_memory: int = 10
    """Seconds the addresses of a name are remembered; 0 looks it up for every connection."""
    keep_alive: float = 15.0
    """Seconds an unused connection is kept for the next request."""
    body_limit: int = 64 * 1024 * 1024
    """Bytes an answer may have in sum, after decompression."""
