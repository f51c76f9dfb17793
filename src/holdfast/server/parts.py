"""What a running server is made of: one value that every route can reach."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Mapping
from typing import Annotated, Any

import msgspec

from holdfast.flow.clock import Clock
from holdfast.runtime.bound import BoundAgent
from holdfast.runtime.runtime import Runtime
from holdfast.server.access.port import Access
from holdfast.server.access.principal import Principal
from holdfast.types import Control, Mode

__all__ = ("Bounds", "Heard", "Observer", "Service", "Throttle")


_log = logging.getLogger("holdfast.server")
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class Bounds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one process gives to whoever asks."""

    heartbeat: _Seconds = 15.0
    """Seconds of silence after which a stream says that it is alive."""
    stall: _Seconds = 30.0
    """Seconds that a piece may take to be taken; whoever is slower is left."""
    streams: _Count = 20_000
    """Streams at once."""
    streams_each: _Count = 1_000
    """Streams at once of one principal."""
    grace: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 20.0
    """Seconds that what is under way has when the server is stopped."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one request, for figures and the audit."""

    method: str
    route: str
    """The path as it is declared; empty where there is no such route."""
    status: int
    code: str = ""
    """Of the problem it was answered with."""
    seconds: float
    who: Principal | None = None
    scope: str = ""
    """What was asked for."""
    client: str = ""
    request_id: str = ""
    streamed: bool = False


class Observer:
    """Is told of requests and streams; this one forgets them."""

    def heard(self, heard: Heard) -> None:
        """A request was answered; a stream has begun."""

    def broken(self, request_id: str, error: Exception) -> None:
        """A request met an error that nobody foresaw; this one leaves a word in the process's log."""
        _log.error("request %s", request_id, exc_info=error)

    def streams(self, change: int) -> None:
        """One stream more, or one less."""


class Throttle:
    """Bounds how much somebody asks; this one bounds nothing."""

    async def admit(self, who: Principal | None, client: str) -> None:
        """Ends quietly when one request more is within the rates.

        Raises:
            Refused: it is not; says when it will be.
        """

    async def afford(self, who: Principal) -> None:
        """Ends quietly while whoever asks has something left to spend on models.

        Raises:
            Refused: there is nothing left; says when there will be, where waiting is enough.
        """


class Service(msgspec.Struct, kw_only=True):
    """A server, as its routes see it."""

    runtime: Runtime
    """The one of the process; a route is given it as acting for whoever asks."""
    agents: Mapping[str, BoundAgent]
    """Whom people can give jobs to, by name."""
    access: Access
    clock: Clock
    bounds: Bounds = Bounds()
    mode: Mode = "auto"
    """What agents may do without asking, of prompts that do not say it themselves."""
    control: Control | None = None
    """How people take part in what comes of prompts that do not say it themselves."""
    observer: Observer = msgspec.field(default_factory=Observer)
    throttle: Throttle = msgspec.field(default_factory=Throttle)
    closing: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    """Is set when the server is being stopped: streams end, and nothing new begins."""
    proxies: Container[str] = frozenset[str]()
    """Addresses whose word about where a request comes from is believed."""
    parts: dict[type, Any] = {}
    """What doors keep between requests, by its type."""
