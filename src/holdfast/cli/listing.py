"""All runs of a store, newest first: a projection of the feed, and its table.

Only the two events that open and close a run are read of the whole store; prompts are fetched for the runs that
are shown. A session without a run of its own, as one that was just forked, is a row, too: else nobody would find it.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.cli.hiding.masking import masked_line
from holdfast.cli.words import age, count, model_name, money, one_line
from holdfast.engine.events import (
    CODEC,
    Forked,
    InputReceived,
    ModelFinished,
    Paused,
    Resumed,
    Rewound,
    RunFinished,
    RunStarted,
)
from holdfast.journal.port import Journal, Record, is_buried
from holdfast.journal.reading import decode_record, read_events
from holdfast.models.routing.grammar import split_level
from holdfast.runtime.sessions.listing import let_go, state_of
from holdfast.types import Event, StreamId, dollars, session_of

__all__ = ("Listed", "as_data", "list_runs", "print_runs")

_TYPES = (RunStarted.type, RunFinished.type, Rewound.type, Forked.type)
_STYLES = {"completed": "green", "running": "cyan", "waiting": "cyan", "open": "magenta", "failed": "red"} | {
    "forked": "dim",
    "imported": "dim",
}


class Listed(msgspec.Struct):
    """One run, as a list shows it."""

    session: str
    seq: int
    """Where it started in its session."""
    started: int
    """µs UTC."""
    status: str
    """How it ended; else `running` while somebody drives it, `waiting` for mail, `paused`, `open` after a crash or a
    stop, or `rewound`. Of a session without a run of its own `forked` or `imported`, as is a run that was open when its
    session was exported."""
    model: str
    steps: int = 0
    tokens: int = 0
    cost: int | None = 0
    """Nanodollars; None when a price was unknown."""
    prompt: str = ""
    models: tuple[str, ...] = ()
    """Those that answered in it, as `provider/name`, in the order in which they first did."""
    estimated: bool = False
    """Whether tokens and cost are the most that they can be, as a provider did not say what was used."""
    parent: str = ""
    """The session whose run started it; empty where a person or a program did."""


def as_data(row: Listed) -> dict[str, Any]:
    """Returns a run as `-o json` prints it: its cost in dollars, as everywhere."""
    return msgspec.structs.asdict(row) | {"cost": None if row.cost is None else dollars(row.cost)}


class _Found:
    """The records of one run, or the one that made a session by branching it off."""

    __slots__ = ("begin", "end", "stream")

    def __init__(self, stream: StreamId, begin: Record) -> None:
        self.stream = stream
        self.begin = begin
        self.end: Record | None = None


async def list_runs(journal: Journal, limit: int) -> list[Listed]:
    """Returns the newest runs of a store, newest first."""
    found: deque[_Found] = deque(maxlen=limit)
    open_runs: dict[StreamId, _Found] = {}
    branches: dict[StreamId, _Found | None] = {}
    """Sessions without a run of their own; None for those that have one."""
    after = 0
    while items := await journal.feed(after=after, types=_TYPES, tenant="local"):
        after = items[-1].position
        for item in items:
            if is_buried(item.stream):
                continue
            if item.record.type == RunStarted.type:
                open_runs[item.stream] = run = _Found(item.stream, item.record)
                found.append(run)
                if (branch := branches.get(item.stream)) is not None and branch in found:
                    found.remove(branch)
                branches[item.stream] = None
            elif item.record.type == Forked.type and item.stream not in branches:
                branches[item.stream] = branch = _Found(item.stream, item.record)
                found.append(branch)
            elif (run := open_runs.pop(item.stream, None)) is not None:
                run.end = item.record
    return [await _listed(run, journal) for run in reversed(found)]


async def _listed(run: _Found, journal: Journal) -> Listed:
    event = await decode_record(run.begin, run.stream, CODEC, journal)
    if isinstance(event.data, Forked):
        return _branch(run.stream, event)
    assert isinstance(event.data, RunStarted)  # the feed was asked for it
    lineage = event.data.setup.lineage
    listed = Listed(session_of(run.stream), event.seq, event.at, "open", event.data.setup.model or "pipeline")
    listed.parent = "" if lineage is None else session_of(lineage.parent)
    async for said in read_events(journal, run.stream, CODEC, after=event.data.input - 1, until=event.data.input):
        if isinstance(said.data, InputReceived):
            listed.prompt = one_line(said.data.message.text)
    if run.end is None:
        head = await journal.head(run.stream)
        listed.status = "open" if head is None else state_of(head)
        if await _so_far(listed, run, journal) and listed.status != "running" and not await let_go(journal, head):
            listed.status = "paused"
        return listed
    end = (await decode_record(run.end, run.stream, CODEC, journal)).data
    if isinstance(end, RunFinished):
        listed.status, listed.steps, listed.cost = end.status, end.steps, end.cost
        listed.tokens, listed.estimated = end.usage.total_tokens, end.usage.estimated
    else:
        listed.status = "imported" if isinstance(end, Forked) else "rewound"
    await _served(listed, run, event.data.setup.model, journal)
    return listed


def _branch(stream: StreamId, event: Event) -> Listed:
    """Returns the row of a session that nobody has said anything to yet."""
    assert isinstance(event.data, Forked)
    parent, at = session_of(StreamId(event.data.parent)) if event.data.parent else "", event.data.at
    said = f"⑂ {parent} as it was at event {at}" if parent else f"from a file of {count(at, 'event')}"
    status = "forked" if parent else "imported"
    return Listed(session_of(stream), event.seq, event.at, status, "", prompt=said)


async def _so_far(listed: Listed, run: _Found, journal: Journal) -> bool:
    """Adds up what an open run did, and returns whether it is paused."""
    paused = False
    async for done in read_events(journal, run.stream, CODEC, after=listed.seq):
        if isinstance(done.data, Paused | Resumed):
            paused = isinstance(done.data, Paused)
        elif isinstance(done.data, ModelFinished):
            listed.steps += 1
            listed.tokens += done.data.message.usage.total_tokens
            listed.estimated = listed.estimated or done.data.message.usage.estimated
            listed.cost = None if listed.cost is None or done.data.cost is None else listed.cost + done.data.cost
            listed.models = _also(listed.models, done.data.message.model)
    return paused


async def _served(listed: Listed, run: _Found, spec: str, journal: Journal) -> None:
    """Finds which models answered in a run that is over; all of it is read only where it could have been several."""
    name, _ = split_level(spec)
    if "/" in name and "," not in spec:
        listed.models = (name,) if listed.steps else ()
        return
    if not spec or run.end is None:
        return
    async for said in read_events(journal, run.stream, CODEC, after=listed.seq, until=run.end.seq):
        if isinstance(said.data, ModelFinished):
            listed.models = _also(listed.models, said.data.message.model)


def _also(known: tuple[str, ...], name: str) -> tuple[str, ...]:
    return known if name in known else (*known, name)


def _below(rows: list[Listed]) -> list[tuple[Listed, int]]:
    """Returns runs with those that they started below them, and how deep each lies; the oldest child comes first.

    One whose parent is not among them stands by itself.
    """
    children: dict[int, list[Listed]] = {}
    roots: list[Listed] = []
    for row in rows:
        above = [each for each in rows if each.session == row.parent and each.started <= row.started]
        if row.parent and above:
            children.setdefault(id(max(above, key=lambda each: each.started)), []).insert(0, row)
        else:
            roots.append(row)
    found: list[tuple[Listed, int]] = []
    stack = [(root, 0) for root in reversed(roots)]
    while stack:
        row, depth = stack.pop()
        found.append((row, depth))
        stack += [(child, depth + 1) for child in reversed(children.get(id(row), []))]
    return found


def print_runs(console: Console, rows: list[Listed], where: str, *, tree: bool = False, hints: bool = True) -> None:
    """Prints the table; each run is one line, whatever was asked, and on a terminal no longer than it is wide.

    `where` is the store option, if there was one. A `tree` has runs below those that started them. `hints` say how
    runs go on that nobody drives, where that is for a person to see to.
    """
    now = time.time_ns() // 1000
    placed = _below(rows) if tree else [(row, 0) for row in rows]
    lines = [
        [
            Text("  " * (depth - 1) + "└ " * bool(depth) + row.session),
            Text(age(row.started, now), "dim"),
            Text(row.status, _STYLES.get(row.status, "yellow")),
            Text(str(row.steps)),
            Text("?" if row.cost is None else money(row.cost, most=row.estimated, short=True)),
        ]
        for row, depth in placed
    ]
    names = ["session", "started", "status", "steps", "cost"]
    # Where it is the same one everywhere, the room is better used.
    if len({row.models or (row.model,) for row in rows if row.model}) > 1:
        names.append("models")
        for cells, (row, _) in zip(lines, placed, strict=True):
            cells.append(Text(_by(row)))
    heads = [Text(name, "dim") for name in names]
    widths = [max(cell.cell_len for cell in column) for column in zip(heads, *lines, strict=True)]
    prompts = [Text("prompt", "dim"), *(_prompt(row, depth) for row, depth in placed)]
    for cells, prompt in zip([heads, *lines], prompts, strict=True):
        line = Text()
        for cell, width, name in zip(cells, widths, names, strict=True):
            right = name in ("steps", "cost")
            cell.align("right" if right else "left", width)
            line.append_text(cell).append("  ")
        line.append_text(masked_line(prompt))
        if console.is_terminal:
            line.truncate(console.width, overflow="ellipsis")
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ignore", crop=False)
    ways = (("open", "open runs go on", "resume"), ("paused", "paused runs go on", "unpause"))
    for status, words, command in ways if hints else ():
        if (row := next((row for row in rows if row.status == status), None)) is not None:
            session = _root(row, rows).session if status == "open" else row.session
            console.print(Text(f"\n{words}: holdfast runs {command} {session}{where}", "dim"), soft_wrap=True)


def _root(row: Listed, rows: list[Listed]) -> Listed:
    """Returns the run at the root of a tree, as far as it is listed and open: who goes on with it goes on with all."""
    above = row
    while above is not None:
        row = above
        parents = (each for each in rows if row.parent and each.session == row.parent and each.started <= row.started)
        above = next((each for each in parents if each.status in ("open", "waiting")), None)
    return row


def _by(row: Listed) -> str:
    """Returns who answered in a run; where nobody did, what was named."""
    return " → ".join(model_name(name, 24) for name in row.models[:3]) if row.models else model_name(row.model, 24)


def _prompt(row: Listed, depth: int) -> Text:
    return Text(row.prompt) if depth or not row.parent else Text.assemble((f"↳ {row.parent}  ", "dim"), row.prompt)
