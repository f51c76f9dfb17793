"""Following a session that this process does not drive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.running import Wrapped, soon, until

from holdfast.engine.events import CODEC
from holdfast.flow.clock import SystemClock
from holdfast.journal.reading import Follower
from holdfast.journal.stores.memory import MemoryJournal
from holdfast.types import StreamId


class Overheard(Wrapped):
    """A journal whose hints a test gives."""

    def __init__(self) -> None:
        super().__init__(MemoryJournal(SystemClock()))
        self.hints: list[Callable[[], None]] = []

    def listen(self, _: StreamId, hint: Callable[[], None], **__: object) -> Callable[[], None]:
        self.hints.append(hint)
        return lambda: None


@pytest.mark.requirement("journal:reader-cancelled")
async def test_a_reader_that_is_cancelled_at_the_moment_of_a_hint_ends() -> None:
    journal = Overheard()
    follower = Follower(journal, StreamId("local/s"), CODEC, lambda _: None)  # type: ignore[arg-type]
    reading = asyncio.create_task(follower.next())
    await until(lambda: bool(journal.hints))
    for _ in range(20):
        await asyncio.sleep(0)  # now it waits
    journal.hints[0]()
    await asyncio.sleep(0)  # what waits for the hint hears of it, and the reader has not yet
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(reading)
    follower.close()
