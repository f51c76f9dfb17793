"""The port of whoever recognises people: from what a request says of its sender to a principal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from holdfast.server.access.principal import Principal

__all__ = ("Access", "Asked")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of its sender."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By their lower-case names."""
    client: str
    """The address it comes from; behind a proxy that is trusted, the one that the proxy names."""
    again: bool = False
    """Whether it was recognised before, and a stream that it opened goes on: nothing is counted against its sender."""


class Access(Protocol):
    """Recognises who asks."""

    async def identify(self, asked: Asked) -> Principal | None:
        """Returns for whom a request is made; None where it says nothing that is recognised.

        Raises:
            Refused: it is recognised and turned away all the same: expired, blocked, or sent by somebody else's page.
        """
        ...

    async def close(self) -> None:
        """Lets go of what it holds."""
        ...
