"""Keeps the runs of a process from storming a provider that said it counts too many requests.

Every model that uses one key of one provider shares a `Pace`. Until the provider refuses something for its rate, a pace
costs a count up and down. From the first refusal on, nobody sends until the time the provider asked for is over, only
half as many are under way at once as there were, and after as many answers as that there may be one more. Who waits is
let go in the order of coming, one after another, not all at the same instant.

Deliberately not here: retries, which are the run's own and durable; other processes, which find out for themselves.
A pace belongs to whichever event loops use it, one at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Final, final

from holdfast.errors import RateLimited
from holdfast.flow.clock import Clock, Timer

__all__ = ("LONGEST_WAIT", "Pace")

LONGEST_WAIT: Final = 60.0
"""Seconds that may be waited for a provider; what has to wait longer fails at once, and says how long."""
_UNSAID: Final = 1.0
"""Seconds that are kept after a refusal that names none."""
_PLENTY: Final = 256
"""How many may be under way at once when a pace stops counting."""


@final
class Pace:
    """How fast one key of one provider is used."""

    __slots__ = ("_answers", "_clock", "_closed_until", "_timer", "_waiting", "_width", "active")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._width = 0
        """How many may be under way at once; 0 for any number."""
        self._answers = 0
        """How many came since it was last made wider or narrower."""
        self._closed_until = 0.0
        self._timer: Timer | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.active = 0
        """How many are under way."""

    @property
    def width(self) -> int | None:
        """How many may be under way at once; None for any number."""
        return self._width or None

    @property
    def idle(self) -> bool:
        """Whether nobody uses it and nothing has to be waited for: a new one would do as well."""
        return not (self.active or self._waiting) and self._clock.monotonic() >= self._closed_until

    def enter(self) -> bool:
        """Takes a place where there is nothing to wait for; False where there is (`wait`)."""
        if self._width and (self._waiting or not self._has_room()):
            return False
        self.active += 1
        return True

    async def wait(self, name: str) -> None:
        """Takes a place as soon as there is one; `name` is whose, for the error.

        Raises:
            RateLimited: the provider asked for more time than may be waited.
        """
        left = self._closed_until - self._clock.monotonic()
        if left > LONGEST_WAIT:
            raise _too_long(name, left)
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._release()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave(answered=False)  # it was given meanwhile
            else:
                self._waiting = deque(each for each in self._waiting if each is not place)
            if not self._waiting and self._timer is not None:  # nobody is left to come back for, perhaps no loop
                self._timer.cancel()
                self._timer = None
            raise
        except RateLimited as error:
            raise _too_long(name, error.retry_after or 0.0) from None

    def __enter__(self) -> None:
        """The place is taken already."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the place back."""
        if error is None and not self._width:
            self.active -= 1
            return
        if isinstance(error, RateLimited):
            self.refused(error.retry_after)
        self.leave(answered=error is None)

    def leave(self, *, answered: bool) -> None:
        """Gives a place back, and learns from an answer that more may be under way."""
        self.active -= 1
        if not self._width:
            return
        if answered:
            self._answers += 1
            if self._answers >= self._width:
                self._width, self._answers = self._width + 1, 0
                if self._width > _PLENTY and self._clock.monotonic() >= self._closed_until:
                    self._width = 0
        self._release()

    def refused(self, seconds: float | None) -> None:
        """Learns that the provider refused something for its rate, and for how long it wants to be left alone."""
        now = self._clock.monotonic()
        if now >= self._closed_until:  # what was under way by then is refused together, and counts once
            self._width, self._answers = min(_PLENTY, max(1, self.active // 2)), 0
        self._closed_until = max(self._closed_until, now + (_UNSAID if seconds is None else seconds))
        if (left := self._closed_until - now) > LONGEST_WAIT:
            waiting, self._waiting = self._waiting, deque()
            for place in waiting:
                if not place.done():
                    place.set_exception(_too_long("", left))

    def _has_room(self) -> bool:
        return self._clock.monotonic() >= self._closed_until and (not self._width or self.active < self._width)

    def _release(self) -> None:
        """Gives places to those who wait, as far as there are some, and comes back when there will be."""
        while self._waiting and self._has_room():
            place = self._waiting.popleft()
            if not place.done():
                self.active += 1
                place.set_result(None)
        left = self._closed_until - self._clock.monotonic()
        if self._waiting and left > 0 and self._timer is None:
            self._timer = self._clock.call_later(left, self._come_back)

    def _come_back(self) -> None:
        self._timer = None
        self._release()


def _too_long(name: str, seconds: float) -> RateLimited:
    return RateLimited(
        f"{name!r}: the provider counts too many requests or tokens; try again in {seconds:.0f} s, or run fewer agents "
        "at once",
        retry_after=seconds,
    )
