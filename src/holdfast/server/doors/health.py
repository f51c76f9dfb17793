"""Whether the process lives, whether it can work, and what it is."""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast import __version__
from holdfast.errors import HoldfastError
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Call, Route

__all__ = ("ROUTES",)


class Health(msgspec.Struct, frozen=True):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Version(msgspec.Struct, frozen=True):
    """What this is."""

    version: str
    name: Literal["holdfast"] = "holdfast"


async def health(call: Call[None, None, None]) -> Health:
    """Says that the process lives, whatever it is busy with."""
    return Health()


async def ready(call: Call[None, None, None]) -> Health:
    """Says that the process takes work: its store answers, and it is not being stopped."""
    if call.service.closing.is_set():
        raise Refused(503, "closing", "this process is being stopped: ask another one", headers={"retry-after": "5"})
    try:
        await call.service.runtime.journal.due(1)
    except HoldfastError as error:
        raise Refused(503, "store_unavailable", "the store does not answer; the server's log says why") from error
    return Health()


async def version(call: Call[None, None, None]) -> Version:
    """Returns the version of the server."""
    return Version(__version__)


ROUTES = tuple(
    Route(method="GET", path=path, handle=handle, scope=None, tag="process", counted=False)
    for path, handle in (
        ("/healthz", health),
        ("/health", health),
        ("/livez", health),
        ("/readyz", ready),
        ("/version", version),
    )
)
