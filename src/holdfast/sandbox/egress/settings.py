"""How much a proxy puts up with, and what a service is that it reaches by name."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

__all__ = ("ProxySettings", "Service")

Service = Callable[[], Awaitable[socket.socket]] | Path
"""Connects to a service, or the path of the unix socket where it is."""


class ProxySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of one proxy."""

    connections: int = 256
    """At once; one more is told to come back later."""
    head_limit: int = 8 * 1024
    """Bytes of a head that is for the proxy."""
    inspected_head_limit: int = 16 * 1024
    """Bytes of a head inside a tunnel that is looked into."""
    answer_head_limit: int = 32 * 1024
    """Bytes of the head of an answer."""
    head_seconds: float = 10.0
    """For a whole head, or a TLS greeting."""
    idle_seconds: float = 120.0
    """In which nothing moves in either direction."""
    total_seconds: float = 6 * 3600.0
    """For a connection, whatever moves."""
