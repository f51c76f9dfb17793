"""A model that says the time: each of its deltas is the moment it was made, so that whoever hears it knows how late.

It asks nobody. All answers share one pace: what is due comes in turn, each delta with one answer, as with many servers
that answer at once. The clock is the system's monotonic one, which all processes of a machine share.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable

from holdfast.models.port import Model, ModelRequest
from holdfast.types import AssistantMessage, Delta, Price, Text, TextDelta, Usage

__all__ = ("LETTERS", "Pace", "Telling", "stamp")

LETTERS = 20
"""Of each delta."""
_TICK = 0.001
"""Seconds between two looks at what is due."""


def stamp() -> str:
    """The time, as a word of always the same length."""
    return f"{time.monotonic():{LETTERS - 1}.6f} "


class Pace:
    """Wakes whoever waits, one after another, so many in a second."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.given = 0
        """Turns that were given."""
        self.late = 0.0
        """The most seconds that turns were behind."""
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Returns when it is the caller's turn."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    async def run(self) -> None:
        """Gives turns, until it is cancelled. What is missed because nobody waited is not made up for."""
        due, last = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            due += (now - last) * self.rate
            self.late = max(self.late, now - last)
            last = now
            while due >= 1 and self._waiting:
                waiter = self._waiting.popleft()
                if not waiter.done():
                    waiter.set_result(None)
                    self.given += 1
                    due -= 1
            due = min(due, 1.0)


class Telling:
    """The model, as the port has it."""

    name = "paced/time"
    price: Price | None = None
    max_output_tokens = 32_000

    def __init__(self, pace: Pace, deltas: int) -> None:
        self._pace = pace
        self._deltas = deltas

    def check(self) -> None:
        """It can always answer."""

    def fresh(self) -> "Telling":
        """It remembers nothing."""
        return self

    async def stream(self, request: ModelRequest) -> AsyncGenerator[list[Delta] | AssistantMessage, None]:
        """Tells the time about so many times."""
        said: list[str] = []
        for _ in range(random.randint(self._deltas // 2, self._deltas * 3 // 2)):  # not all at the same time
            await self._pace.turn()
            said.append(word := stamp())
            yield [TextDelta(word)]
        yield AssistantMessage((Text("".join(said)),), self.name, usage=Usage(10, len(said)))

    def size(self, request: ModelRequest) -> int:
        """Nothing to speak of."""
        return 10

    async def count(self, request: ModelRequest) -> int | None:
        """Nobody can be asked."""
        return None

    @classmethod
    def make(cls, pace: Pace, deltas: int) -> Callable[..., Model]:
        """What makes it, as a provider's."""

        def make(*_: object) -> Model:
            return cls(pace, deltas)

        return make
