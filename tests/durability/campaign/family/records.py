"""What a run and all it started left behind, and what is wrong with it: by the logs, the ledger and the service."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from tests.durability.campaign.evidence import flaws_of_stream, tree_of
from tests.durability.campaign.family.players import USER
from tests.durability.campaign.program import SESSION

from holdfast.engine.events import (
    CODEC,
    ModelFinished,
    PhaseStarted,
    RunClosed,
    ToolFinished,
    ToolWaiting,
    WaitResolved,
)
from holdfast.engine.folding import replay
from holdfast.engine.purse import own
from holdfast.engine.state import Run
from holdfast.flow.clock import SystemClock
from holdfast.journal.port import Head
from holdfast.journal.reading import read_events
from holdfast.ledger.amounts import Amount
from holdfast.ledger.port import Balance, Grant
from holdfast.runtime.opening import open_journal, open_ledger
from holdfast.types import AssistantMessage, Event, Message, ToolMessage, UserMessage, session_of

__all__ = ("Records", "Session", "flaws", "gather", "over_a_cap", "unknown_labels")

_UNKNOWN: Final = "Outcome unknown"


class Session(msgspec.Struct, frozen=True):
    """One session."""

    events: list[Event]
    head: Head
    run: Run | None
    conversation: list[Any]
    files: dict[str, tuple[int, bytes]]


class Records(msgspec.Struct, frozen=True):
    """A run and all it started."""

    sessions: dict[str, Session]
    """By their places: `job`, and below it the turn and the call, or the phase, that started them."""
    strays: list[str]
    """Sessions that nobody waits for."""
    balance: Balance
    """Of the user's account."""
    grants: list[Grant]
    """Those that are open."""


def gather(store: Path, folder: Path) -> Records:
    """Returns what is in a store that nobody has open, by looking at a copy of it."""
    folder.mkdir()
    for file in (store, store.with_name(f"{store.name}-wal")):
        if file.exists():
            shutil.copy(file, folder / file.name)
    try:
        return asyncio.run(_gather(f"sqlite:///{folder / store.name}"))
    finally:
        shutil.rmtree(folder)


async def _gather(url: str) -> Records:
    clock = SystemClock()
    journal = await open_journal(url, clock)
    try:
        found: dict[str, tuple[list[Event], Head]] = {}
        for head in await journal.heads("local"):
            events = [event async for event in read_events(journal, head.stream, CODEC)]
            found[session_of(head.stream)] = events, head
        ledger = open_ledger(journal, clock)
        places = dict(_places(found, SESSION, SESSION))
        sessions = {place: _session(*found[name]) for name, place in places.items()}
        strays = [name for name in found if name not in places]
        return Records(sessions, strays, await ledger.balance(USER), await ledger.open_grants())
    finally:
        await journal.close()


def _places(found: dict[str, tuple[list[Event], Head]], name: str, place: str) -> Iterator[tuple[str, str]]:
    if name not in found:
        return
    yield name, place
    turn, calls = 0, dict[str, int]()
    for event in found[name][0]:
        match event.data:
            case ModelFinished() as data:
                turn += 1
                calls = {call.id: number for number, call in enumerate(data.message.calls)}
            case ToolWaiting() as data if data.wait.kind == "child":
                yield from _places(found, data.wait.subject, f"{place}/{turn}.{calls[data.call_id]}")
            case PhaseStarted() as data:
                yield from _places(found, data.wait.subject, f"{place}/phase {data.phase}")
            case _:
                pass


def _session(events: list[Event], head: Head) -> Session:
    state = replay(events)
    run = state.run or state.last
    folder = Path(run.workspace) if run is not None and run.workspace else None
    files = tree_of(folder) if folder is not None else {}
    return Session(events, head, run, list(_plain(state.messages)), files)


def _plain(messages: Sequence[Message]) -> Iterator[Any]:
    calls: dict[str, tuple[str, str]] = {}
    for message in messages:
        match message:
            case UserMessage():
                yield ("user", message.text)
            case AssistantMessage():
                calls |= {call.id: (call.name, call.arguments) for call in message.calls}
                yield ("model", message.text, message.stop, [(call.name, call.arguments) for call in message.calls])
            case ToolMessage():
                yield ("tool", calls[message.call_id], message.content, message.is_error)


def unknown_labels(records: Records) -> Iterator[str]:
    """Yields the bells whose outcome a log says is unknown."""
    for session in records.sessions.values():
        for message in session.conversation:
            if message[0] == "tool" and message[2].startswith(_UNKNOWN):
                yield msgspec.json.decode(message[1][1])["label"]


def over_a_cap(balance: Balance) -> list[str]:
    """Returns which caps the settled and the open grants are over together."""
    return [
        f"{used} of a cap of {limit} at {balance.account}"
        for standing in balance.standings
        for used, limit in zip(standing.used.numbers, standing.cap.limits, strict=True)
        if limit is not None and used > limit
    ]


def flaws(found: Records, wanted: Records | None, provider: int) -> Iterator[str]:
    """Yields what is wrong with a run that is over: against the one it should equal, where how it ends is determined.

    `provider` is how many tokens the provider's answers had.
    """
    yield from (f"nobody waits for session {name!r}" for name in found.strays)
    for place, session in found.sessions.items():
        yield from (f"{place}: {flaw}" for flaw in _flaws_of_session(session))
    yield from _flaws_of_money(found, provider)
    if wanted is None:
        return
    if found.sessions.keys() != wanted.sessions.keys():
        yield f"the sessions are {sorted(found.sessions)}, not {sorted(wanted.sessions)}"
    for place in found.sessions.keys() & wanted.sessions.keys():
        one, other = found.sessions[place], wanted.sessions[place]
        if (talk := _alike(one.conversation, other.conversation)) != other.conversation:
            yield f"{place}: it went {talk}, not {other.conversation}"
        if one.files != other.files:
            yield f"{place}: its files are {sorted(one.files)}, not {sorted(other.files)}, or differ"


def _alike(conversation: list[Any], wanted: list[Any]) -> list[Any]:
    """Returns a conversation in which a bell of which nobody can tell is what the other one says of it."""
    known = {message[1]: message for message in wanted if message[0] == "tool"}
    unknown = [message[0] == "tool" and message[2].startswith(_UNKNOWN) for message in conversation]
    return [known.get(each[1], each) if odd else each for each, odd in zip(conversation, unknown, strict=True)]


def _flaws_of_session(session: Session) -> Iterator[str]:
    yield from flaws_of_stream(session.events, session.head)
    results = _results(session.events)
    if any(count != 1 for count in results.values()):
        yield f"a call has not one result: {results}"
    closed = sum(isinstance(event.data, RunClosed) for event in session.events)
    owes = session.run is not None and (session.run.setup.setup.lineage is not None or bool(session.run.account))
    if closed != owes:
        yield f"its books were closed {closed} times"


def _results(events: Sequence[Event]) -> Counter[tuple[int, str]]:
    """Returns how many results each call of the model got."""
    results, waits = Counter[tuple[int, str]](), dict[str, tuple[int, str]]()
    turn = 0
    for event in events:
        match event.data:
            case ModelFinished() as data:
                turn = event.seq
                results.update({(turn, call.id): 0 for call in data.message.calls})
            case ToolWaiting() as data:
                waits[data.wait.token] = turn, data.call_id
            case _:
                pass
    turn = 0
    over: set[tuple[int, str]] = set()
    for event in events:
        match event.data:
            case ModelFinished():
                turn = event.seq
            case ToolFinished(nested=None) as data:
                results[turn, data.call_id] += 1
                over.add((turn, data.call_id))
            case WaitResolved() as data if data.token in waits and waits[data.token] not in over:
                yes = data.token.startswith("approval:") and data.content in ("once", "always")
                results[waits[data.token]] += not yes
            case _:
                pass
    return results


def _flaws_of_money(found: Records, provider: int) -> Iterator[str]:
    runs = [session.run for session in found.sessions.values() if session.run is not None]
    spent = sum((_own(run) for run in runs), Amount())
    settled = found.balance.settled
    if found.grants or found.balance.open != Amount():
        yield f"grants are open: {found.grants}"
    if (settled.tokens, settled.cost) != (spent.tokens, spent.cost):
        yield f"{settled} was settled and the logs say {spent}"
    if provider > settled.tokens:
        yield f"the provider gave {provider} tokens and {settled.tokens} were settled"
    root = found.sessions[SESSION].run
    limits = None if root is None else root.setup.setup.limits
    if limits is not None and limits.tokens is not None and settled.tokens > limits.tokens:
        yield f"{settled.tokens} tokens were spent and the run was given {limits.tokens}"
    yield from over_a_cap(found.balance)


def _own(run: Run) -> Amount:
    return own(run, run.finished_at) if run.account else Amount()
