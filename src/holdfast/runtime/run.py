"""A run, as whoever started it holds it: what happens in it, what it came to, and how to speak to it.

It holds nothing the log does not: the same events come out of it in the process that runs it, in another one,
and long after.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Generic, final

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
from holdfast.errors import UnknownSession, UsageError
from holdfast.journal.port import Journal, Letter
from holdfast.journal.reading import Follower, decode_record, latest_first, read_events
from holdfast.journal.tail import Tail
from holdfast.runtime.recalling.letters import is_same
from holdfast.runtime.speaking import Receipt, Speaking, sayable
from holdfast.tools.typed.describing import Value
from holdfast.tools.typed.reading import AnswerReader
from holdfast.types import Delta, Event, SessionId, StreamId, Usage, dollars

__all__ = ("ModelUse", "Run", "RunResult")


class ModelUse(msgspec.Struct, frozen=True, gc=False):
    """What one model did for a run."""

    answers: int = 0
    failures: int = 0
    """Calls that came to no answer."""
    usage: Usage = Usage()
    """Of both, as far as anybody knows."""
    cost: float | None = 0.0
    """Of `usage`, in US dollars; None when the price is unknown."""


class RunResult(msgspec.Struct, Generic[Value], frozen=True, kw_only=True):
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
    """Calls that were not allowed: by the mode, a policy, a hook or a person, or because nobody could be asked."""
    value: Value | None = None
    """The answer of an agent with an `output`, once it completed: of that type where the process has the agent, and
    plain data otherwise. None where there is none, or this process's type does not take it."""
    session: SessionId
    seq: int
    """Where the run started in the session: with the session, the run's id."""
    again_at: int | None = None
    """Of a run that met a cap with a window, when enough may fit again, µs UTC."""
    advice: str = ""
    """Of a run that met a limit of tokens or dollars, what would have been enough."""
    models: Mapping[str, ModelUse] = {}
    """Which models it asked, by `provider/name`, in the order in which they were; what it started is not counted."""


@final
class Run(Speaking, Generic[Value]):
    """One accepted input and what comes of it."""

    again: Letter | None = None
    """The prompt, where one had been posted before under its key, and this one is not posted."""

    def __init__(
        self,
        journal: Journal,
        stream: StreamId,
        key: str,
        after: int,
        tail: Callable[[StreamId], Tail | None],
        actor: str = "user",
        reader: AnswerReader | None = None,
    ) -> None:
        super().__init__(journal, stream, actor)
        self._tail = tail
        self._after = after
        self._reader = reader
        self._result: RunResult[Value] | None = None
        self.key = key
        """The input's idempotency key: the log names it once the input is committed."""

    async def events(self, after: int | None = None) -> AsyncIterator[Event | Delta]:
        """Yields what happens, from the run's beginning (or from the events after `after`) to its end.

        Durable events (`Event`) carry a sequence number, come in order and are never missed or repeated. Deltas
        come in between while the run is live in this process.

        Raises:
            HoldfastError: this process cannot go on with the run, which is still open in the log.
        """
        progress = _Progress(self.key, self.session, self._reader, after)
        result: RunResult[Value] | None = None
        begin = self._after if after is None else min(after, self._after)
        follower = Follower(self._journal, self._stream, CODEC, self._tail, after=begin)
        try:
            while True:
                for item in await follower.next():
                    if item.type in _TELLING and isinstance(item, Event):
                        result = _TELLING[item.type](progress, item.data, item)
                    if progress.shows_all or progress.shows(item):
                        yield item
                    if result is not None:
                        self._result = result
                        return
        finally:
            follower.close()

    async def result(self) -> RunResult[Value]:
        """Returns what the run came to, once it is over."""
        if self._result is None:
            async for _ in self.events():
                pass
        assert self._result is not None  # events() ends with one, or raises
        return self._result

    async def peek(self) -> RunResult[Value] | None:
        """Returns what the run came to if it is over, and None while it is not.

        Raises:
            UnknownSession: there is no such session, or no prompt of this key in it.
        """
        head = await self._journal.head(self._stream)
        progress = _Progress(self.key, self.session, self._reader, None)
        async for event in read_events(self._journal, self._stream, CODEC, until=0 if head is None else head.seq):
            if event.type in _TELLING and (result := _TELLING[event.type](progress, event.data, event)) is not None:
                self._result = result
                return result
        queued = [] if head is None else await self._journal.mail(self._stream, head.inbox_taken)
        if not progress.input and not any(mail.key == self.key for mail in queued):
            raise UnknownSession(f"no prompt of session {self.session!r} has the key {self.key[:100]!r}")
        return None

    @property
    def repeated(self) -> bool:
        """Whether the prompt had been posted before under its key, and is not posted again."""
        return self.again is not None

    async def is_same(self) -> bool:
        """Returns whether a prompt that is repeated says what the first one of its key said, and to the same agent, as
        far as the store knows: only the first one counts. Reads the log back to there.
        """
        return self.again is None or await is_same(self._journal, self._stream, self.again)

    async def abort(self, reason: str = "", *, key: str | None = None) -> Receipt:
        """Asks the run to end: what is under way is stopped, and what it has is kept."""
        return await self._post("abort", msgspec.json.encode(Stop(sayable(reason), self.key)), key)

    async def _post(self, kind: str, body: bytes, key: str | None) -> Receipt:
        """Says something to the run.

        Raises:
            UsageError: it is words for the model, and the run is over: they would open, and pay for, another one. What
                was said under the same key before that is a duplicate all the same.
        """
        if kind in ("steer", "follow_up") and await self._is_over() and not (key and await self._was_said(key)):
            raise UsageError(
                f"the run in session {self.session!r} is over, and nobody reads what is said to it now: start the next "
                "one, or say it to the session, which opens one (runtime.session(...).steer)"
            )
        return await super()._post(kind, body, key)

    async def _is_over(self) -> bool:
        head = await self._journal.head(self._stream)
        if head is None or head.state == "ended":  # which says so itself
            return False
        return self._result is not None or (head.state == "idle" and not head.unread)

    async def _was_said(self, key: str) -> bool:
        """Whether the log holds an input of that key."""
        async for record in latest_first(self._journal, self._stream):
            if record.type == InputReceived.type:
                event = await decode_record(record, self._stream, CODEC, self._journal)
                if event.cause == key:
                    return True
        return False


class _Progress(msgspec.Struct, eq=False):
    """Finds one run's events in its session's."""

    _key: str
    _session: SessionId
    _reader: AnswerReader | None
    _after: int | None
    input: int = 0
    """Where its input was received; 0 before."""
    seq: int = 0
    """Where it started; 0 before."""
    shows_all: bool = False
    """Whether all that comes is shown: what comes before the run, or before what is asked for, is not."""
    _typed: bool = False
    _said: str = ""
    _steps: int = 0
    _usage: Usage = Usage()
    _cost: int | None = 0
    _again_at: int | None = None
    _advice: str = ""
    _only: str = ""
    """The one model that was asked, as long as it is the only one and gave every answer."""
    _models: dict[str, tuple[int, int, Usage, int | None]] = {}
    """What each was asked, as soon as there are several, or one failed."""

    def shows(self, item: Event | Delta) -> bool:
        """Whether something is shown while not all is: the run's input, and the deltas of who asks for a part."""
        if not isinstance(item, Event):
            return self._after is not None
        if self._after is None:
            return item.seq == self.input
        self.shows_all = item.seq > self._after
        return self.shows_all

    def received(self, data: InputReceived, event: Event) -> None:
        if event.cause == self._key:
            self.input = event.seq

    def dropped(self, data: InputDropped, event: Event) -> RunResult | None:
        if data.input != self.input:
            return None
        return self._result(RunFinished("aborted", data.reason or "the session has ended", cost=0))

    def started(self, data: RunStarted, event: Event) -> None:
        if data.input == self.input:
            self.seq = event.seq
            if self._after is None:
                self.shows_all = True
            self._typed = data.setup.typed

    def answered(self, data: ModelFinished, event: Event) -> None:
        if not self.seq:
            return
        message, cost = data.message, data.cost
        self._said = message.text or self._said
        only = self._only
        if not only or message.model != only:
            if only or self._models:
                self._use(message.model, 1, 0, message.usage, cost)
            else:
                self._only = message.model  # what the run used is what this one did
        self._steps += 1
        self._usage = self._usage + message.usage
        self._cost = None if self._cost is None or cost is None else self._cost + cost

    def failed(self, data: ModelFailed, event: Event) -> None:
        if not self.seq:
            return
        usage, cost = data.usage, data.cost if data.usage is not None else 0
        if data.model:
            self._use(data.model, 0, 1, usage or Usage(), cost)
        if usage is not None:
            self._usage = self._usage + usage
            self._cost = None if self._cost is None or cost is None else self._cost + cost

    def exhausted(self, data: BudgetExhausted, event: Event) -> None:
        self._again_at = data.again_at
        self._advice = "" if data.short is None else data.short.words(data.limit)

    def finished(self, data: RunFinished, event: Event) -> RunResult | None:
        return self._result(data) if self.seq else None

    def left(self, data: Forked | Rewound, event: Event) -> RunResult | None:
        if not self.input:
            return None
        left = "left for another branch"  # it was queued or open there, and stayed behind
        return self._result(RunFinished("aborted", left, self._steps, self._usage, self._cost))

    def _use(self, model: str, answers: int, failures: int, usage: Usage, cost: int | None) -> None:
        if self._only:
            self._models[self._only], self._only = (self._steps, 0, self._usage, self._cost), ""
        known = self._models.get(model)
        if known is not None:
            sum_ = None if known[3] is None or cost is None else known[3] + cost
            answers, failures, usage, cost = known[0] + answers, known[1] + failures, known[2] + usage, sum_
        self._models[model] = answers, failures, usage, cost

    def _value(self, output: str) -> Any:
        if self._reader is not None:
            return self._reader.value(output)
        try:
            return msgspec.json.decode(output)
        except (msgspec.DecodeError, UnicodeError, RecursionError):  # what a pipeline's last phase fell back to
            return None

    def _result(self, end: RunFinished) -> RunResult:
        output = end.output or self._said
        return RunResult(
            output=output,
            value=self._value(output) if self._typed and end.status == "completed" else None,
            status=end.status,
            reason=end.reason,
            usage=end.usage,
            cost=_in_dollars(end.cost),
            steps=end.steps,
            denied=end.denied,
            session=self._session,
            seq=self.seq,
            again_at=self._again_at if end.status == "limited" else None,
            advice=self._advice if end.status == "limited" else "",
            models=self._used(),
        )

    def _used(self) -> dict[str, ModelUse]:
        if self._only:
            return {self._only: ModelUse(self._steps, 0, self._usage, _in_dollars(self._cost))}
        return {
            name: ModelUse(answers, failures, usage, _in_dollars(cost))
            for name, (answers, failures, usage, cost) in self._models.items()
        }


_TELLING: dict[str, Callable[[_Progress, Any, Event], RunResult | None]] = {
    InputReceived.type: _Progress.received,
    InputDropped.type: _Progress.dropped,
    RunStarted.type: _Progress.started,
    ModelFinished.type: _Progress.answered,
    ModelFailed.type: _Progress.failed,
    BudgetExhausted.type: _Progress.exhausted,
    RunFinished.type: _Progress.finished,
    Forked.type: _Progress.left,
    Rewound.type: _Progress.left,
}


def _in_dollars(cost: int | None) -> float | None:
    return None if cost is None else dollars(cost)
