"""What one connection may take, and all of them together."""

from __future__ import annotations

from typing import Annotated

import msgspec

__all__ = ("Caps",)

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class Caps(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client may keep busy before anybody knows who it is."""

    connections: _Count = 20_000
    """At once, in all; fewer where the system gives fewer files. Whoever comes above is answered with 503."""
    connections_each: _Count | None = None
    """At once, from one address that is no trusted proxy's. Without it 1,000, and any number from this machine."""
    backlog: _Count = 2048
    """Connections that wait to be accepted."""
    line_bytes: _Count = 64 * 1024
    """Of a request's path and query; more is answered with 414."""
    head_bytes: _Count = 64 * 1024
    """Of all its headers; more is answered with 431, as soon as it is too much."""
    headers: _Count = 128
    """How many headers it may have."""
    head_seconds: _Seconds = 15.0
    """From a connection, or from a request's first byte, to the end of its headers."""
    body_seconds: _Seconds = 20.0
    """That a body may take beside what its size allows."""
    body_rate: _Count = 1_000
    """Bytes in a second, at least, that a body comes with."""
    body_bytes: _Count = 1024 * 1024 * 1024
    """Of any body, whatever its route says."""
    idle_seconds: _Seconds = 75.0
    """That a connection may stay open between two requests."""
    stall_seconds: _Seconds = 60.0
    """That a client may take nothing of what is sent to it."""
    parting_seconds: _Seconds = 5.0
    """That a client has to finish sending, or to stop, once its answer is sent."""
    pipelined: _Count = 16
    """Requests that may wait behind the one that is being answered."""
    dead_after: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 120
    """Seconds after which a peer that no longer answers, though it never said goodbye, is taken for gone."""
    looks: _Seconds = 0.5
    """Seconds between two looks at how long everybody takes."""
