"""What happens in a session as the stream of this door: the event protocol, framed as server-sent events.

    data: {"type":"step_finish",...}
    id: 41

The id is the place in the log of the event that a frame comes from, and stands at the last frame of it, so that a
reader who says what it had last misses nothing. In conversations after the first one it is `<number>:<place>`. A
reader that comes back in the middle of an answer is told to forget the words of that step (`text_reset`), and is given
them from their beginning.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import final

import msgspec

from holdfast.engine.events import InputDropped, InputReceived, RunFinished, RunStarted, ToolFinished
from holdfast.errors import StorageDamaged
from holdfast.runtime.runtime import Runtime
from holdfast.server.doors.agentops import shapes as fep
from holdfast.server.doors.agentops.translating import Budget, Translator
from holdfast.server.problems import Refused
from holdfast.types import Delta, Digest, Event, Text, UserMessage

__all__ = ("Budgets", "Teller", "files_of", "frame", "now_shown", "one_run", "prompt_of", "read_id", "start_of")

Budgets = Callable[[str], Budget]
"""Gives, of a prompt's words, what says of its run what requests are made of."""

_encode = msgspec.json.Encoder().encode
_FILE = 256 * 1024
"""Bytes of a file that is told of as a whole."""
_FIRST = 256
"""Events that are looked at first, on the way back to where a run began."""


def frame(event: fep.Fep, id: str = "") -> bytes:
    """Returns an event as it is sent."""
    return b"data: %s\n%s\n" % (_encode(event), b"id: %s\n" % id.encode() if id else b"")


def read_id(given: str) -> tuple[int, int]:
    """Returns the number of the conversation, and the place in its log, that a reader had last.

    Raises:
        Refused: it is no id of ours.
    """
    number, colon, place = given.strip().rpartition(":")
    if not place.isdecimal() or len(place) > 15 or (colon and not (number.isdecimal() and len(number) < 10)):
        raise Refused(400, "bad_id", "Last-Event-ID is none of this stream: leave it out to begin with what comes now")
    return max(1, int(number or 1)), int(place)


def prompt_of(message: UserMessage) -> str:
    """Returns the words of a prompt, without those that were kept for it."""
    texts = [part.text for part in message.parts if isinstance(part, Text)]
    return texts[-1] if texts else ""


_PARTS = (fep.TextStart, fep.ReasoningStart, fep.ToolInputStart, fep.ToolCall, fep.StreamFinish)
"""What may come first of a step that began before."""


@final
class Teller:
    """Tells a session, or one run of it, in the protocol's frames."""

    def __init__(
        self,
        agent: str,
        session: str,
        *,
        number: int = 1,
        key: str = "",
        known: int = 0,
        budgets: Budgets | None = None,
    ) -> None:
        self._agent = agent
        self._session = session
        self._number = number
        self._key = key
        """Of the prompt whose run is told; empty for every one."""
        self._known = known
        """The last event that the reader has."""
        self._budgets = budgets
        self._prompts: dict[int, InputReceived] = {}
        self._wanted: set[int] = set()
        """The inputs that are to be told."""
        self._run: Translator | None = None
        self._files: Mapping[Digest, bytes] = {}
        self._rejoins = known > 0
        """Whether the step that comes next may be one of which the reader has a part."""
        self.over = False
        """Whether a run was told to its end that the reader had not."""

    async def feed(self, runtime: Runtime, items: Sequence[Event | Delta]) -> bytes:
        """Returns what these come to in frames; nothing of what the reader has."""
        return b"".join([frame(each, id) for each, id in await self.tell(runtime, items)])

    async def tell(self, runtime: Runtime, items: Sequence[Event | Delta]) -> list[tuple[fep.Fep, str]]:
        """Returns what these come to, each with its id, where it has one; nothing of what the reader has."""
        self._files = await files_of(runtime, items)
        told: list[tuple[fep.Fep, str]] = []
        now = datetime.now(UTC)
        for item in items:
            events = self._translated(item, now)
            if not isinstance(item, Event):
                told += [(each, "") for each in self._rejoined(events)]
            elif item.seq > self._known:
                events = self._rejoined(events)
                told += [(each, "") for each in events[:-1]]
                told += [(each, self._id(item.seq)) for each in events[-1:]]
                self.over = self.over or any(isinstance(each, fep.SessionIdle) for each in events)
        return told

    def end(self, error: str, *, retryable: bool = True) -> bytes:
        """Returns the end of a stream that cannot be told to its end; of one of a whole session, nothing while no run
        is open.
        """
        return b"".join([frame(each) for each in self.ending(error, retryable=retryable)])

    def ending(self, error: str, *, retryable: bool = True) -> list[fep.Fep]:
        """Returns the same as events."""
        if self._run is None and (not self._key or self.over):
            return []
        run = self._run or Translator(self._agent, self._session)
        return run.end(error, datetime.now(UTC), retryable=retryable)

    def _id(self, seq: int) -> str:
        return str(seq) if self._number == 1 else f"{self._number}:{seq}"

    def _translated(self, item: Event | Delta, now: datetime) -> list[fep.Fep]:
        if isinstance(item, Event):
            data = item.data
            if isinstance(data, InputReceived):
                self._prompts[item.seq] = data
                if not self._key or item.cause == self._key:
                    self._wanted.add(item.seq)
            elif isinstance(data, RunStarted):
                said = self._prompts.pop(data.input, None)
                self._run = self._begin(said) if data.input in self._wanted or not self._key else None
            elif isinstance(data, InputDropped):
                return self._dropped(item, data, now)
        if self._run is None:
            return []
        self._run.files = self._files
        found = self._run.feed([item], now)
        if isinstance(item, Event) and isinstance(item.data, RunFinished):
            self._run = None
        return found

    def _begin(self, said: InputReceived | None) -> Translator:
        prompt = "" if said is None else prompt_of(said.message)
        budget = None if self._budgets is None else self._budgets(prompt)
        internal = "" if said is None or said.kind != "proceed" else said.kind
        return Translator(self._agent, self._session, prompt=prompt, internal=internal, budget=budget)

    def _dropped(self, item: Event, data: InputDropped, now: datetime) -> list[fep.Fep]:
        """Returns what is told of a prompt that never began."""
        said = self._prompts.pop(data.input, None)
        if said is None or said.kind != "prompt" or data.input not in self._wanted:
            return []
        run = self._begin(said)
        at = datetime.fromtimestamp(item.at / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        start = fep.AgentStart(timestamp=at, session_id=self._agent, prompt=prompt_of(said.message))
        return [start, *run.feed([item], now)]

    def _rejoined(self, events: list[fep.Fep]) -> list[fep.Fep]:
        """Returns the same, with the word to forget what the reader may have of a step."""
        if not self._rejoins or not events:
            return events
        self._rejoins = False
        first, run = events[0], self._run
        begins = isinstance(first, fep.StepStart)
        if run is None or not (begins or isinstance(first, _PARTS)):
            return events
        forget = fep.TextReset(timestamp=first.timestamp, session_id=self._agent, step_number=run.step, reason="joined")
        return [first, forget, *events[1:]] if begins else [forget, *events]


async def files_of(runtime: Runtime, items: Sequence[Event | Delta]) -> dict[Digest, bytes]:
    """Returns the first file that each of these calls made, where it is not too large to be told of with its bytes."""
    found: dict[Digest, bytes] = {}
    for item in items:
        if isinstance(item, Event) and isinstance(item.data, ToolFinished) and item.data.result.attachments:
            file = item.data.result.attachments[0]
            if file.size <= _FILE:
                with contextlib.suppress(KeyError, StorageDamaged):  # it was deleted meanwhile, or is damaged
                    found[file.digest] = await runtime.attached(file)
    return found


async def start_of(runtime: Runtime, session: str, seq: int) -> int:
    """Returns after which event the run begins that is open at an event; where none is, that event."""
    size, until = _FIRST, seq
    while until > 0:
        after = max(0, until - size)
        for event in reversed(await runtime.events(session, after=after, limit=until - after)):
            if isinstance(event.data, RunFinished):
                return seq
            if isinstance(event.data, RunStarted):
                return min(event.data.input, event.seq) - 1
        until, size = after, 2 * size
    return 0 if seq else seq


async def one_run(runtime: Runtime, session: str, teller: Teller, after: int) -> AsyncGenerator[bytes]:
    """Yields what follows an event in frames, until the end of a run that the reader had not."""
    items = runtime.follow(session, after=after)
    try:
        async for batch in items:
            if piece := await teller.feed(runtime, batch):
                yield piece
            if teller.over:
                return
    finally:
        await items.aclose()


def now_shown() -> str:
    """Returns the time as the protocol has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
