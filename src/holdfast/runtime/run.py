"""A run, as whoever started it holds it: what happens in it, what it came to, and how to speak to it.

It holds nothing the log does not: the same events come out of it in the process that runs it, in another one,
and long after.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import final

import msgspec

from holdfast.engine.events import (
    CODEC,
    BudgetExhausted,
    Forked,
    InputDropped,
    InputReceived,
    ModelFailed,
    ModelFinished,
    Rewound,
    RunFinished,
    RunStarted,
)
from holdfast.engine.letters import Status, Stop
from holdfast.journal.port import Journal
from holdfast.journal.reading import Follower
from holdfast.journal.tail import Tail
from holdfast.runtime.speaking import Receipt, Speaking, sayable
from holdfast.types import Delta, Event, SessionId, StreamId, Usage, dollars

__all__ = ("Run", "RunResult")


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to."""

    output: str
    """The answer; of a run that did not complete, what the model said last."""
    status: Status
    reason: str = ""
    """Which limit, whose abort, what failure; empty when completed."""
    usage: Usage = Usage()
    """Of it and of what it started, as far as that had ended; what ended later has its own figures."""
    cost: float | None = None
    """Of `usage`, in US dollars; None when a price was unknown."""
    steps: int = 0
    denied: int = 0
    """Calls that were not allowed: by the mode, by a person, or because nobody could be asked."""
    session: SessionId
    seq: int
    """Where the run started in the session: with the session, the run's id."""
    again_at: int | None = None
    """Of a run that met a cap with a window, when enough may fit again, µs UTC."""


@final
class Run(Speaking):
    """One accepted input and what comes of it."""

    def __init__(
        self,
        journal: Journal,
        stream: StreamId,
        key: str,
        after: int,
        tail: Callable[[StreamId], Tail | None],
        actor: str = "user",
    ) -> None:
        super().__init__(journal, stream, actor)
        self._tail = tail
        self._after = after
        self._result: RunResult | None = None
        self.key = key
        """The input's idempotency key: the log names it once the input is committed."""

    async def events(self, after: int | None = None) -> AsyncIterator[Event | Delta]:
        """Yields what happens, from the run's beginning (or from the events after `after`) to its end.

        Durable events (`Event`) carry a sequence number, come in order and are never missed or repeated. Deltas
        come in between while the run is live in this process.

        Raises:
            HoldfastError: this process cannot go on with the run, which is still open in the log.
        """
        progress, session = _Progress(self.key), self.session
        begin = self._after if after is None else min(after, self._after)
        follower = Follower(self._journal, self._stream, CODEC, self._tail, after=begin)
        try:
            while True:
                for item in await follower.next():
                    if not isinstance(item, Event):
                        if progress.seq or after is not None:
                            yield item
                        continue
                    result = progress.see(item, session)
                    if progress.seq or item.seq == progress.input if after is None else item.seq > after:
                        yield item
                    if result is not None:
                        self._result = result
                        return
        finally:
            follower.close()

    async def result(self) -> RunResult:
        """Returns what the run came to, once it is over."""
        if self._result is None:
            async for _ in self.events():
                pass
        assert self._result is not None  # events() ends with one, or raises
        return self._result

    async def abort(self, reason: str = "", *, key: str | None = None) -> Receipt:
        """Asks the run to end: what is under way is stopped, and what it has is kept."""
        return await self._post("abort", msgspec.json.encode(Stop(sayable(reason), self.key)), key)


_TELLING = frozenset(
    each.type
    for each in (
        InputReceived,
        InputDropped,
        RunStarted,
        ModelFinished,
        ModelFailed,
        BudgetExhausted,
        RunFinished,
        Forked,
        Rewound,
    )
)


class _Progress:
    """Finds one run's events in its session's."""

    def __init__(self, key: str) -> None:
        self._key = key
        self.input = 0
        """Where its input was received; 0 before."""
        self.seq = 0
        """Where it started; 0 before."""
        self._said = ""
        self._steps = 0
        self._usage = Usage()
        self._cost: int | None = 0
        self._again_at: int | None = None

    def see(self, event: Event, session: SessionId) -> RunResult | None:
        if event.type not in _TELLING:
            return None
        match event.data:
            case InputReceived() if event.cause == self._key:
                self.input = event.seq
            case RunStarted() as data if data.input == self.input:
                self.seq = event.seq
            case ModelFinished() as data if self.seq:
                self._said = data.message.text or self._said
                self._steps += 1
                self._count(data.message.usage, data.cost)
            case ModelFailed() as data if self.seq and data.usage is not None:
                self._count(data.usage, data.cost)
            case BudgetExhausted() as data:
                self._again_at = data.again_at
            case RunFinished() as data if self.seq:
                return self._result(data, session)
            case InputDropped() as data if data.input == self.input:
                return self._result(RunFinished("aborted", "the session has ended"), session)
            case Forked() | Rewound() if self.input:  # it was queued or open there, and stayed behind
                left = "left for another branch"
                return self._result(RunFinished("aborted", left, self._steps, self._usage, self._cost), session)
            case _:
                pass
        return None

    def _count(self, usage: Usage, cost: int | None) -> None:
        self._usage = self._usage + usage
        self._cost = None if self._cost is None or cost is None else self._cost + cost

    def _result(self, end: RunFinished, session: SessionId) -> RunResult:
        return RunResult(
            output=end.output or self._said,
            status=end.status,
            reason=end.reason,
            usage=end.usage,
            cost=None if end.cost is None else dollars(end.cost),
            steps=end.steps,
            denied=end.denied,
            session=session,
            seq=self.seq,
            again_at=self._again_at if end.status == "limited" else None,
        )
