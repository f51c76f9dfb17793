"""The port of transports: one attempt of a call goes out, and its answer comes back.

A transport knows its wire. It knows nothing of timeouts (it is cancelled), of retries, of who may call what, of the
log, and of secrets but for the headers of the one request it sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

import msgspec

from holdfast.safety.addresses import PUBLIC, TRUSTED, AddressPolicy
from holdfast.tools.binding import ToolContext
from holdfast.tools.contract.messages import Request
from holdfast.tools.contract.taxonomy import fault_of
from holdfast.types import ToolResult, Wait

__all__ = ("MOST", "Errand", "Transport", "Unsent", "reach", "too_large")

MOST = 4 * 1024 * 1024
"""Bytes of an answer that are read unless a tool says otherwise (source: Orloj 3.4)."""


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt goes out with."""

    request: Request
    headers: Mapping[str, str] = {}
    """How it is authenticated: for this one request, and nothing else."""
    context: ToolContext
    most: int = MOST
    """Bytes of an answer that are read."""

    def __repr__(self) -> str:
        return f"Errand({self.request.tool.name!r}, {self.request.request_id!r})"

    def hide(self, text: str) -> str:
        """Returns a text without the secrets of the call; before it is cut, since half a secret is found by nobody."""
        secrets = self.context.secrets
        return text if secrets is None else secrets.redactor.hide(text)


class Unsent(Exception):
    """Nothing reached the other side, so nothing can have happened there: the call may be made again."""

    def __init__(self, result: ToolResult) -> None:
        super().__init__(result.content)
        self.result = result


def reach(private: bool) -> AddressPolicy:
    """Returns which addresses a tool's calls may go to: public ones, or with `private` also those of this machine and
    its networks. What hands out a machine's credentials, and link-local addresses, no tool reaches.
    """
    return TRUSTED if private else PUBLIC


def too_large(name: str, most: int) -> ToolResult:
    """Returns what an answer comes to that is not read to its end: the same call would bring as much once more."""
    text = f"{name!r} answered with more than {most:,} bytes, which were not read; ask it for less"
    return ToolResult(text, fault_of("execution_failed", retryable=False))


class Transport(Protocol):
    """One way to a tool."""

    kind: ClassVar[str]
    """What declarations call it, for example `http`."""
    place: str
    """Where it leads, for people and errors: an address, a program, a module; nothing secret."""
    private: bool = False
    """Whether addresses of this machine and its private networks may be dialled for it."""
    secrets: tuple[str, ...] = ()
    """Names of the secrets that it hands to what it starts."""

    async def send(self, errand: Errand) -> ToolResult | Wait:
        """Returns what an attempt came to: also what the other side refused, or did wrong.

        Raises:
            Unsent: nothing reached the other side.
            ToolFailure: it is not known whether anything happened there.
        """
        ...

    async def close(self) -> None:
        """Lets go of what is kept open for it in the running event loop; a later attempt opens it again."""
        return
