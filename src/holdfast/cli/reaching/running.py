"""A run at a server: what happens in it, and how to speak to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal, final

import msgspec

from holdfast.cli.reaching.calling import Caller, path_of
from holdfast.cli.reaching.port import Spoken
from holdfast.cli.reaching.refusals import told
from holdfast.cli.reaching.streaming import following
from holdfast.engine.events import Forked, InputDropped, InputReceived, Rewound, RunFinished, RunStarted
from holdfast.engine.letters import Status
from holdfast.errors import ConnectionBroken, NetTimeout, UsageError
from holdfast.flow.ids import new_key
from holdfast.runtime.run import ModelUse, RunResult
from holdfast.runtime.speaking import said
from holdfast.types import Delta, Document, Event, Image, SessionId, Text, Usage, UserPart

__all__ = ("RemoteRun", "Word", "parts_of")

_WAIT = 30
"""Seconds that the server is asked to wait for a result, again and again."""


class Word(msgspec.Struct, frozen=True):
    """What became of something that was said."""

    status: Literal["accepted", "duplicate"]
    key: str = ""
    n: int = 0
    """Its number in the session's inbox."""


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    session: SessionId
    status: Status | Literal["open"]
    output: str = ""
    value: Any = None
    reason: str = ""
    usage: Usage = Usage()
    cost: float | None = None
    steps: int = 0
    denied: int = 0
    run: int = 0
    models: dict[str, ModelUse] = {}


def parts_of(words: str | Sequence[str | UserPart]) -> dict[str, Any]:
    """Returns what somebody says as the server takes it.

    Raises:
        InputTooLarge, UsageError: it is more than an input may be, or nothing.
    """
    parts = said(words).parts
    if len(parts) == 1 and isinstance(parts[0], Text):
        return {"text": parts[0].text}
    return {"parts": [_part(each) for each in parts]}


def _part(part: UserPart) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    kind = "image" if isinstance(part, Image) else "document"
    assert isinstance(part, Image | Document)
    return {"type": kind, "media_type": part.media_type, "data": part.data, "name": part.name}


@final
class RemoteRun(Spoken):
    """One accepted input and what comes of it, at a server."""

    def __init__(self, caller: Caller, session: str, key: str, *, after: int = 0, started: int = 0) -> None:
        """The run of the prompt of that key, which comes after event `after`; `started` is where it began, if known."""
        self.key = key
        self.session = session
        self._caller = caller
        self._after = after
        self._started = started

    async def events(self, after: int | None = None) -> AsyncGenerator[Event | Delta]:
        """Yields what happens, from the run's beginning (or from the events after `after`) to its end."""
        course = _Course(self.key, self._started, after)
        known = self._after if not self._started or after is None else max(self._after, self._started - 1)
        begin = known if after is None else min(after, known)
        async with aclosing(following(self._caller, self.session, after=begin)) as batches:
            async for batch in batches:
                for item in batch:
                    over = isinstance(item, Event) and course.ends(item)
                    if course.shows(item):
                        yield item
                    if over:
                        return

    async def result(self) -> RunResult[Any]:
        """Returns what the run came to, once it is over; waits while the server is away."""
        tries = 0
        while True:
            path = path_of("sessions", self.session, "runs", self.key)
            try:
                found = await self._caller.get(_Outcome, path, {"wait": _WAIT})
            except (ConnectionBroken, NetTimeout) as error:
                self._caller.lost(told(error))
                await self._caller.pause(tries)
                tries += 1
                continue
            tries = 0
            if found.status != "open":
                return _result(found, found.status)

    async def steer(self, text: str | Sequence[str | UserPart], *, key: str | None = None) -> Word:
        """Says something that the model reads as soon as what is under way is over."""
        return await self._say("steer", parts_of(text), key)

    async def follow_up(self, text: str | Sequence[str | UserPart], *, key: str | None = None) -> Word:
        """Says something that joins the conversation when the run would otherwise be over."""
        return await self._say("follow-up", parts_of(text), key)

    async def pause(self, reason: str = "", *, key: str | None = None) -> Word:
        """Lets what is under way come to its end, and nothing new begin."""
        return await self._say("pause", {"reason": reason}, key)

    async def resume(self, *, key: str | None = None) -> Word:
        """Lets a paused session go on."""
        return await self._say("resume", {}, key)

    async def abort(self, reason: str = "", *, key: str | None = None) -> Word:
        """Asks the run to end."""
        return await self._say("abort", {"run": self.key, "reason": reason}, key)

    async def exit(self, reason: str = "", *, key: str | None = None) -> Word:
        """Ends the session for good."""
        return await self._say("exit", {"reason": reason}, key)

    async def answer(self, token: str, content: str) -> Word:
        """Gives what waits a person's word.

        Raises:
            UsageError: it is none that can be given from here.
        """
        word, _, rest = content.partition(": ")
        match word:
            case "once" | "always" if not rest:
                return await self.approve(token, always=word == "always")
            case "deny":
                return await self.deny(token, rest)
            case "changes" if rest:
                return await self.request_changes(token, rest)
            case _:
                raise UsageError("a server takes a yes, a no, or what is to be different: say one of them")

    async def approve(self, token: str, *, always: bool = False, arguments: Mapping[str, Any] | None = None) -> Word:
        """Allows the call that waits, or accepts the answer that is under review."""
        more = {} if arguments is None else {"arguments": dict(arguments)}
        return await self._answer(token, {"decision": "approve", **({"always": True} if always else {}), **more})

    async def deny(self, token: str, reason: str = "") -> Word:
        """Does not allow it."""
        return await self._answer(token, {"decision": "deny", "reason": reason})

    async def reply(self, token: str, answers: Sequence[str | Sequence[str]]) -> Word:
        """Answers questions."""
        return await self._answer(token, {"decision": "answer", "answers": answers})

    async def request_changes(self, token: str, feedback: str) -> Word:
        """Has an answer that is under review done again."""
        return await self._answer(token, {"decision": "changes", "reason": feedback})

    async def _say(self, how: str, body: Mapping[str, Any], key: str | None) -> Word:
        return await self._caller.post(Word, path_of("sessions", self.session, how), {**body, "key": key or new_key()})

    async def _answer(self, token: str, body: Mapping[str, Any]) -> Word:
        found = await self._caller.answer(path_of("sessions", self.session, "waits", token), body)
        return Word("duplicate") if found is None else msgspec.json.decode(found, type=Word)


class _Course(msgspec.Struct):
    """Finds one run's events in its session's."""

    key: str
    started: int
    """Where it began; 0 while that is not known."""
    after: int | None
    input: int = 0
    began: bool = False
    all: bool = False
    """Whether all that comes is shown: what comes before the run, or before what is asked for, is not."""

    def ends(self, event: Event) -> bool:
        """Takes an event in, and returns whether the run is over with it."""
        match event.data:
            case InputReceived() if event.cause == self.key:
                self.input = event.seq
            case RunStarted() as data if event.seq == self.started or (data.input == self.input and self.input):
                self.began, self.input = True, data.input
                self.all = self.all or self.after is None
            case RunFinished():
                return self.began
            case InputDropped() as data:
                return data.input == self.input and bool(self.input)
            case Forked() | Rewound():
                return bool(self.input)
            case _:
                pass
        return False

    def shows(self, item: Event | Delta) -> bool:
        """Whether something is the run's, and wanted."""
        if self.all:
            return True
        if not isinstance(item, Event):
            return self.after is not None
        if self.after is None:
            return item.seq == self.input
        self.all = item.seq > self.after
        return self.all


def _result(found: _Outcome, status: Status) -> RunResult[Any]:
    return RunResult(
        output=found.output,
        status=status,
        reason=found.reason,
        usage=found.usage,
        cost=found.cost,
        steps=found.steps,
        denied=found.denied,
        value=found.value,
        session=found.session,
        seq=found.run,
        models=found.models,
    )
