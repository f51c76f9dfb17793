"""A run, as whoever started it holds it: what happens in it, what it came to, and how to speak to it.

It holds nothing the log does not: the same events come out of it in the process that runs it, in another one,
and long after.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import final

import msgspec

from holdfast.engine.events import (
    CODEC,
    Answer,
    Forked,
    InputReceived,
    ModelFailed,
    ModelFinished,
    Prompt,
    Rewound,
    RunFinished,
    RunStarted,
    Status,
    Stop,
)
from holdfast.errors import InboxFull, InputTooLarge, UsageError
from holdfast.flow.ids import new_key
from holdfast.journal.port import KEY_LIMIT, Journal, Letter, Posted
from holdfast.journal.reading import Follower
from holdfast.journal.tail import Tail
from holdfast.types import (
    Delta,
    Document,
    Event,
    Image,
    SessionId,
    StreamId,
    Text,
    Usage,
    UserMessage,
    UserPart,
    digest_of,
    dollars,
    session_of,
)

__all__ = ("ATTACHED_BYTES", "PROMPT_BYTES", "Run", "RunResult", "said")

PROMPT_BYTES = 4 * 1024 * 1024
"""The longest input; more is no prompt but a file."""
ATTACHED_BYTES = 20 * 1024 * 1024
"""All images and documents of one input together; as base64 they still fit a request of 32 MB."""


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to."""

    output: str
    """The answer; of a run that did not complete, what the model said last."""
    status: Status
    reason: str = ""
    """Which limit, whose abort, what failure; empty when completed."""
    usage: Usage = Usage()
    cost: float | None = None
    """US dollars; None when a price was unknown."""
    steps: int = 0
    denied: int = 0
    """Calls that were not allowed: by the mode, by a person, or because nobody could be asked."""
    session: SessionId
    seq: int
    """Where the run started in the session: with the session, the run's id."""


@final
class Run:
    """One accepted input and what comes of it."""

    def __init__(
        self, journal: Journal, stream: StreamId, key: str, after: int, tail: Callable[[], Tail | None]
    ) -> None:
        self._journal = journal
        self._stream = stream
        self._tail = tail
        self._after = after
        self._result: RunResult | None = None
        self.key = key
        """The input's idempotency key: the log names it once the input is committed."""

    @property
    def session(self) -> SessionId:
        """The session it happens in."""
        return session_of(self._stream)

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

    async def steer(self, text: str | Sequence[str | UserPart], *, key: str | None = None) -> Posted:
        """Says something that joins the conversation before the model is asked next."""
        return await self._post("steer", msgspec.json.encode(Prompt(said(text))), key)

    async def follow_up(self, text: str | Sequence[str | UserPart], *, key: str | None = None) -> Posted:
        """Says something that joins the conversation when the run would otherwise be over."""
        return await self._post("follow_up", msgspec.json.encode(Prompt(said(text))), key)

    async def abort(self, reason: str = "", *, key: str | None = None) -> Posted:
        """Asks the run to end: what is under way is stopped, and what it has is kept."""
        return await self._post("abort", msgspec.json.encode(Stop(_checked(reason), self.key)), key)

    async def answer(self, token: str, content: str, *, is_error: bool = False, key: str | None = None) -> Posted:
        """Gives a waiting call what it waits for."""
        body = msgspec.json.encode(Answer(token, _checked(content), is_error))
        return await self._post("answer", body, key or _answer_key(token))

    async def approve(self, token: str, *, always: bool = False, key: str | None = None) -> Posted:
        """Allows the call that waits under this token; `always` also every later call of its tool in this session."""
        return await self.answer(token, "always" if always else "once", key=key)

    async def deny(self, token: str, reason: str = "", *, key: str | None = None) -> Posted:
        """Does not allow the call that waits under this token; the model reads the reason."""
        return await self.answer(token, f"deny: {reason}" if reason else "deny", key=key)

    async def _post(self, kind: str, body: bytes, key: str | None) -> Posted:
        letter = Letter(key=key or new_key(), kind=kind, body=body, actor="user", urgent=kind == "abort")
        posted = await self._journal.post(self._stream, letter)
        if posted.status == "full":
            raise InboxFull(
                f"session {self.session!r} has too much unread mail: wait until it has read some, then send again"
            )
        return posted


_TELLING = frozenset(
    each.type for each in (InputReceived, RunStarted, ModelFinished, ModelFailed, RunFinished, Forked, Rewound)
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
            case RunFinished() as data if self.seq:
                return self._result(data, session)
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
            output=self._said,
            status=end.status,
            reason=end.reason,
            usage=end.usage,
            cost=None if end.cost is None else dollars(end.cost),
            steps=end.steps,
            denied=end.denied,
            session=session,
            seq=self.seq,
        )


def said(words: str | Sequence[str | UserPart]) -> UserMessage:
    """Returns what somebody says as a message: words, or words, images and documents in their order.

    Raises:
        InputTooLarge: it is longer than an input may be.
        UsageError: it says nothing, or holds something that is none of these.
    """
    if isinstance(words, str):
        return UserMessage((Text(_checked(words)),))
    parts = [Text(part) if isinstance(part, str) else part for part in words]
    if not parts:
        raise UsageError("a prompt without parts says nothing: give it at least some text")
    for part in parts:
        if not isinstance(part, Text | Image | Document):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise UsageError(f"a prompt holds a {type(part).__name__!r}: give text, an Image or a Document")
        if not isinstance(part, Text):
            part.check()
    attached = sum(len(part.data) for part in parts if not isinstance(part, Text))
    if attached > ATTACHED_BYTES:
        raise InputTooLarge(
            f"the input's images and documents have {attached:,} bytes and {ATTACHED_BYTES:,} are allowed: "
            "make them smaller, or put them into the workspace and tell the agent their names"
        )
    _checked("".join([part.text for part in parts if isinstance(part, Text)]))  # the bound is for all words together
    return UserMessage(tuple([Text(_checked(part.text)) if isinstance(part, Text) else part for part in parts]))


def _answer_key(token: str) -> str:
    """Returns the key under which a wait is answered once; a tool may have made its token longer than a key."""
    key = f"answer:{token}"
    return key if len(key) <= KEY_LIMIT else f"answer:{digest_of(token.encode('utf-8', 'replace'))}"


def _checked(text: str) -> str:
    """Returns text as it can be written down: a lone surrogate, which no bytes stand for, becomes a question mark."""
    encoded = text.encode("utf-8", "replace") if not text.isascii() else b""
    size = len(encoded) or len(text)
    if size > PROMPT_BYTES:
        raise InputTooLarge(
            f"the input has {size:,} bytes and {PROMPT_BYTES:,} are allowed: "
            "put it into a file in the workspace and tell the agent its name"
        )
    return encoded.decode() if encoded else text
