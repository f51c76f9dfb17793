"""The port of whatever takes results of runs: what a target promises, and what it is handed.

A run's result goes to each of its targets under an id that follows from the run and the target, so that whoever takes
it twice can tell. What a repeated attempt comes to is the target's promise:

- `keyed`: one id has one effect, however often it is delivered. Exactly once.
- `checkable`: it can be asked whether an id arrived, and is asked before it is sent again. Exactly once.
- `at-least-once`: it is sent until it was certainly taken; what nobody is sure of is sent again.
- `at-most-once`: it is sent once; what nobody is sure of is not sent again, and counts as dead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, final

import msgspec

from holdfast.engine.letters import Status
from holdfast.storage.blobs import BlobStore
from holdfast.storage.chunks import get_chunked
from holdfast.types import Attachment, Digest, SessionId, TenantId, Usage

__all__ = ("PROMISES", "Attached", "Delivery", "Function", "Promise", "Target")

Promise = Literal["keyed", "checkable", "at-least-once", "at-most-once"]
PROMISES: tuple[Promise, ...] = ("keyed", "checkable", "at-least-once", "at-most-once")


@final
class Attached:
    """A file that a call of the run made."""

    __slots__ = ("_blobs", "_file", "_tenant", "name")

    def __init__(self, name: str, file: Attachment, blobs: BlobStore, tenant: TenantId) -> None:
        self._file = file
        self._blobs = blobs
        self._tenant = tenant
        self.name = name
        """The name of a file and nothing more; no other one of the delivery has it."""

    @property
    def media_type(self) -> str:
        """What its bytes are."""
        return self._file.media_type

    @property
    def digest(self) -> Digest:
        """Of its bytes."""
        return self._file.digest

    @property
    def size(self) -> int:
        """Bytes."""
        return self._file.size

    async def read(self) -> bytes:
        """Returns its bytes.

        Raises:
            KeyError: they are not kept any more.
            StorageDamaged: what lies there is not what was put.
        """
        return await get_chunked(self._blobs, self._tenant, self._file.digest, self._file.chunks)


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to, as a target gets it: the same however often it is delivered."""

    id: str
    """Of this run for this target, for ever."""
    tenant: TenantId = TenantId("local")
    session: SessionId
    run: int
    """Where the run started in its session; of a prompt that was dropped before it began, where that was received."""
    status: Status
    reason: str = ""
    """Which limit, whose abort, what failure; empty when completed."""
    output: str = ""
    """The answer; of a run that did not complete, what the model said last."""
    error: str = ""
    """What went wrong, of a run that failed."""
    attachments: tuple[Attached, ...] = ()
    """The files that the run's calls made, each once, in the order in which the calls ended."""
    usage: Usage = Usage()
    cost: float | None = None
    """US dollars; None when a price was unknown."""
    steps: int = 0


class Target(Protocol):
    """Something that takes results."""

    @property
    def promise(self) -> Promise:
        """What it comes to when one id is delivered more than once."""
        ...

    @property
    def settles(self) -> float:
        """Of a `checkable` target, seconds after which an attempt that was cut off can arrive no more."""
        ...

    async def deliver(self, delivery: Delivery) -> None:
        """Returns when the delivery was taken. May be cancelled at any await.

        Raises:
            DeliveryRefused: it is not taken, and will not be.
            NotDelivered: nothing of it arrived; it is tried again later.
            DeliveryError: it was not taken, or nobody knows; what follows is up to the promise. Whatever else is raised
                counts as this.
        """
        ...

    async def delivered(self, id: str) -> bool:
        """Returns whether a delivery arrived; asked of `checkable` targets only.

        Raises:
            DeliveryError: nobody can tell at the moment.
        """
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...


Function = Callable[[Delivery], Awaitable[None]]
"""A target as a plain function."""
