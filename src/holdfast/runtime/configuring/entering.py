"""A runtime that is about to be opened: its store is opened when it is entered, and closed when it is left."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from holdfast.flow.clock import Clock
from holdfast.journal.port import Journal
from holdfast.runtime.configuring.equipment import Equipment
from holdfast.runtime.opening import open_journal
from holdfast.runtime.sandboxes import Sandboxes, sandboxes_of
from holdfast.sandbox.policy.profile import Profile

__all__ = ("Opening",)


class _Closes(Protocol):
    async def close(self) -> None: ...


R = TypeVar("R", bound=_Closes)


class Opening(Generic[R]):
    """Makes a runtime of a store and what was said of it."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        profile: Profile,
        given: Equipment,
        make: Callable[[Journal, Clock, Sandboxes, Equipment], R],
    ) -> None:
        self._url = url
        self._clock = clock
        self._profile = profile
        self._given = given
        self._make = make
        self._runtime: R | None = None

    async def __aenter__(self) -> R:
        journal = await open_journal(self._url, self._clock)
        sandboxes = sandboxes_of(self._url, journal.blobs, self._profile)
        self._runtime = self._make(journal, self._clock, sandboxes, self._given)
        return self._runtime

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runtime is not None:
            await self._runtime.close()
