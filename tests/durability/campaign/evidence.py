"""What a run left behind, in a form in which two runs can be compared: the conversation, the files, the log.

Ids, times, durations and sequence numbers are dropped from the conversation; a result is told by the call it
belongs to. Of the files nothing is dropped but when they were written.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from holdfast.engine.events import (
    CODEC,
    CallReopened,
    InputApplied,
    InputReceived,
    ModelFinished,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
)
from holdfast.engine.folding import replay
from holdfast.journal.port import Head
from holdfast.journal.reading import read_events
from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.types import (
    AssistantMessage,
    CallId,
    Event,
    Message,
    ToolMessage,
    ToolResult,
    UserMessage,
    stream_id,
)

__all__ = (
    "Evidence",
    "differences",
    "flaws_of_log",
    "flaws_of_stream",
    "gather",
    "log_as_it_lies",
    "read_log",
    "tree_of",
)


class Evidence(msgspec.Struct, frozen=True):
    """One run."""

    conversation: list[Any]
    files: dict[str, tuple[int, bytes]]
    events: list[Event]
    head: Head


def gather(store: Path, workspace: Path, session: str) -> Evidence:
    """Returns what a run left, from the store and the disk alone."""
    events, head = asyncio.run(read_log(store, session))
    results = {event.data.call_id: event.data.result for event in events if isinstance(event.data, ToolFinished)}
    conversation = list(canonical(replay(events).messages, results))
    return Evidence(conversation, tree_of(workspace), events, head)


async def read_log(store: Path, session: str) -> tuple[list[Event], Head]:
    """Returns a session's events and its head; one that nobody began has none and an empty one."""
    journal = await SqliteJournal.open(store)
    try:
        stream = stream_id("local", session)
        head = await journal.head(stream) or Head(stream=stream)
        return [event async for event in read_events(journal, stream, CODEC)], head
    finally:
        await journal.close()


def log_as_it_lies(store: Path, session: str, copy: Path) -> list[Event]:
    """Returns the events in a store that nobody has open, and leaves it to the next process as it is."""
    copy.mkdir()
    for file in (store, store.with_name(f"{store.name}-wal")):
        if file.exists():
            shutil.copy(file, copy / file.name)
    events, _ = asyncio.run(read_log(copy / store.name, session))
    shutil.rmtree(copy)
    return events


def canonical(messages: Sequence[Message], results: Mapping[CallId, ToolResult]) -> Iterator[Any]:
    """Yields messages by role: words, reasoning, calls by name and arguments, results by the call they answer, with
    what they hold for people's screens.
    """
    calls: dict[str, tuple[str, str]] = {}
    for message in messages:
        match message:
            case UserMessage():
                yield ("user", message.text)
            case AssistantMessage():
                calls |= {call.id: (call.name, call.arguments) for call in message.calls}
                words = [part for part in message.parts if part not in message.calls]
                yield ("model", words, message.stop, [(call.name, call.arguments) for call in message.calls])
            case ToolMessage():
                result = results[message.call_id]
                screen = {key: value for key, value in result.metadata.items() if key not in ("duration", "cwd")}
                yield ("tool", calls[message.call_id], message.content, message.is_error, result.error, screen)


def tree_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Returns everything below a folder: kind and mode, and the content or where a link points."""
    found: dict[str, tuple[int, bytes]] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            content = os.fsencode(path.readlink())
        else:
            content = path.read_bytes() if stat.S_ISREG(mode) else b""
        found[path.relative_to(folder).as_posix()] = (mode, content)
    return found


def differences(found: Evidence, wanted: Evidence) -> list[str]:
    """Returns where a run differs from the one it should equal, and what contradicts itself in its log."""
    return [
        *_unequal(found.conversation, wanted.conversation),
        *_unequal_files(found.files, wanted.files),
        *flaws_of_log(found.events, found.head),
    ]


def _unequal(found: list[Any], wanted: list[Any]) -> Iterator[str]:
    if len(found) != len(wanted):
        yield f"{len(found)} messages, not {len(wanted)}"
    for number, (one, other) in enumerate(zip(found, wanted, strict=False), 1):
        if one != other:
            yield f"message {number} is {_short(one)}, not {_short(other)}"


def _unequal_files(found: dict[str, tuple[int, bytes]], wanted: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    for path in sorted(found.keys() | wanted.keys()):
        one, other = found.get(path), wanted.get(path)
        if one != other:
            yield f"{path!r} is {_short(one)}, not {_short(other)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]}… ({len(text)} characters)"


def flaws_of_log(events: Sequence[Event], head: Head) -> list[str]:
    """Returns what is wrong with the log of a finished run that waited for nobody, whatever the run was about."""
    return [*flaws_of_stream(events, head), *_flaws_of_calls(events)]


def flaws_of_stream(events: Sequence[Event], head: Head) -> list[str]:
    """Returns what is wrong with the log of a finished run, its calls left out."""
    flaws: list[str] = []
    if [event.seq for event in events] != list(range(1, head.seq + 1)):
        flaws.append(f"the log has gaps: {[event.seq for event in events]} up to {head.seq}")
    if any(later.epoch < event.epoch for event, later in pairwise(events)):
        flaws.append("an epoch goes back")
    counts = Counter(event.type for event in events)
    flaws += [f"{counts[kind.type]} times {kind.type}" for kind in (RunStarted, RunFinished) if counts[kind.type] != 1]
    received = Counter(event.cause for event in events if isinstance(event.data, InputReceived))
    applied = Counter(event.data.input for event in events if isinstance(event.data, RunStarted | InputApplied))
    if max([*received.values(), *applied.values()]) > 1 or len(received) != len(applied):
        flaws.append(f"mail was not applied once: {received} received, {applied} applied")
    if head.state != "idle" or head.owner is not None or head.unread:
        flaws.append(f"the run is over and its head says {head}")
    return flaws


def _flaws_of_calls(events: Sequence[Event]) -> Iterator[str]:
    for name, history in _histories(events).items():
        starts, reopened = history.count(ToolStarted.type), history.count(CallReopened.type)
        over = history.count(ToolFinished.type) == 1 and history[-1] == ToolFinished.type
        if not over or starts > reopened + 1:
            yield f"call {name} went {history}"


def _histories(events: Sequence[Event]) -> dict[tuple[int, str], list[str]]:
    histories: dict[tuple[int, str], list[str]] = {}
    turn = 0
    for event in events:
        match event.data:
            case ModelFinished() as data:
                turn = event.seq
                histories |= {(turn, call.id): [] for call in data.message.calls}
            case ToolStarted() | ToolFinished() | CallReopened() as data:
                histories.setdefault((turn, data.call_id), []).append(event.type)
            case _:
                pass
    return histories
