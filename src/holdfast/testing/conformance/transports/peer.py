"""What the checks need of a tool on the other side.

Each behaviour is another way to the tool (`Peer.transport("dies")`), so that a peer keeps no state but its count: an
address of its own, another program, another module.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol, Self

import msgspec

from holdfast.tools.binding import ToolContext
from holdfast.tools.transports.port import Transport
from holdfast.types import ToolResult, Wait

__all__ = ("FAILURE", "FLOOD", "TOKEN", "Behaviour", "Lie", "Peer", "Traits")

Lie = Literal["version", "request_id", "status", "garbage", "empty"]
"""What is wrong with an answer: its version of the contract, the request it answers, a status that nobody knows, bytes
that are no answer at all (not UTF-8), no bytes."""

Behaviour = Literal[
    "works",  # gives back what it was given as `text`, or a text that holds it
    "fails",  # says that it could not, in the words of FAILURE: status 500, an exit code, an error of the contract
    "sleeps",  # takes the call, and never answers; ends when its caller leaves
    "floods",  # answers with FLOOD bytes, or goes on without end until nobody reads
    "refuses",  # works for whoever sends `Authorization: Bearer <TOKEN>`; refuses all others, repeating what they sent
    "dies",  # takes the call, answers half (if its wire can), and is gone
    "absent",  # nothing is there: a port nobody listens on, a program that does not exist
    "lies:version",
    "lies:request_id",
    "lies:status",
    "lies:garbage",
    "lies:empty",
]
"""How the tool on the other side behaves."""

FAILURE = "the city is closed today"
"""What a tool says that fails; the result tells it to the model."""
FLOOD = 256 * 1024 * 1024
"""Bytes of an answer that is too large; a wire that needs whole messages sends what it can."""
TOKEN = "canary-4711-of-the-kit"
"""The one credential that is let in."""


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What a wire can and cannot do."""

    lies: tuple[Lie, ...] = ("version", "request_id", "status", "garbage", "empty")
    """Those it can tell; none where any answer is a result."""
    authenticated: bool = True
    """Whether a call carries credentials, and the other side refuses it without."""
    failure_retryable: bool = True
    """Whether its failures are of the kind that may go well a moment later."""
    absence: str = "execution_failed"
    """The code of a call when nothing is there."""
    many: int = 200
    """Calls at once."""
    begins: float = 0.0
    """Seconds more than the checks' own that a call is given to reach the tool."""
    memory: int = 32 * 1024 * 1024
    """Bytes that a flood may take of this process, with the peer where it runs in it, too."""


class Peer(Protocol):
    """A tool elsewhere, open while its `async with` block runs; what it keeps open ends with that."""

    traits: ClassVar[Traits]

    @property
    def reached(self) -> int | None:
        """Calls that reached the tool until now, of any behaviour; None where nobody can count them."""
        ...

    def transport(self, behaviour: Behaviour) -> Transport:
        """Returns a new transport to the tool that behaves so."""
        ...

    def left(self) -> list[str]:
        """Returns what of calls that are over is still at work on the other side, in words: a request that is still
        answered, a process, a container. Empty is as it should be.
        """
        ...

    async def answered(self, wait: Wait, context: ToolContext) -> ToolResult:
        """Returns what a wait comes to, of a transport that returns waits; others never get here."""
        raise AssertionError(f"nobody expected a wait here; seen: {wait!r}")

    async def __aenter__(self) -> Self:
        """Opens it."""
        ...

    async def __aexit__(self, *_: object) -> None:
        """Ends it, and all it kept open."""
        ...
