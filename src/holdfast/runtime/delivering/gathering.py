"""From the log to what a target gets: the result of one run, and the files its calls made."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from holdfast.engine.events import (
    CODEC,
    InputDropped,
    ModelFailed,
    ModelFinished,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolWaiting,
)
from holdfast.errors import DeliveryRefused
from holdfast.journal.port import Journal
from holdfast.journal.reading import read_events
from holdfast.runtime.delivering.events import Pending
from holdfast.runtime.delivering.port import Attached, Delivery
from holdfast.types import Attachment, Event, Usage, distinct, dollars, session_of, tenant_of

__all__ = ("attached_in", "gather")


async def gather(journal: Journal, pending: Pending) -> Delivery:
    """Returns what is to be delivered; the same however often it is asked.

    Raises:
        DeliveryRefused: the log does not hold the run any more.
        Corrupt: it cannot be read.
        StorageError: not at the moment.
    """
    stream, run, end = pending.stream, pending.run, pending.end
    events = [event async for event in read_events(journal, stream, CODEC, after=run - 1, until=run)]
    # Of a prompt that never began, what lies between is another run's, and perhaps another person's.
    after = run if any(isinstance(event.data, RunStarted) for event in events) else end - 1
    events += [event async for event in read_events(journal, stream, CODEC, after=after, until=end)]
    if not events or (events[0].seq, events[0].id, events[-1].seq) != (run, pending.began, end):
        raise DeliveryRefused(f"session {session_of(stream)!r} was deleted, and its result with it")
    files = attached_in(events)
    tenant = tenant_of(pending.stream)
    named = zip(distinct(file.name for file in files), files, strict=True)
    delivery = Delivery(
        id=pending.id,
        tenant=tenant,
        session=session_of(pending.stream),
        run=pending.run,
        status="aborted",
        attachments=tuple([Attached(name, file, journal.blobs, tenant) for name, file in named]),
    )
    return msgspec.structs.replace(delivery, **_outcome(events))


def attached_in(events: Iterable[Event]) -> list[Attachment]:
    """Returns the files that the calls in some events made, each once: also where one call passed on what another one
    had made.
    """
    found: dict[tuple[str, str], Attachment] = {}
    for event in events:
        match event.data:
            case ToolFinished() as data:
                made = data.result.attachments
            case ToolWaiting() as data:
                made = data.wait.attachments
            case _:
                continue
        for file in made:
            found.setdefault((file.name, file.digest), file)
    return list(found.values())


def _outcome(events: list[Event]) -> dict[str, object]:
    """Returns the fields that say how a run ended."""
    said, steps, usage = "", 0, Usage()
    cost: int | None = 0
    for event in events:
        match event.data:
            case ModelFinished() as data:
                said, steps = data.message.text or said, steps + 1
                usage = usage + data.message.usage
                cost = None if cost is None or data.cost is None else cost + data.cost
            case ModelFailed() as data if data.usage is not None:
                usage = usage + data.usage
                cost = None if cost is None or data.cost is None else cost + data.cost
            case _:
                pass
    match events[-1].data:
        case RunFinished() as end:
            pass
        case InputDropped() as dropped:
            end = RunFinished("aborted", dropped.reason or "the session has ended", cost=0)
        case _:  # a rewind
            end = RunFinished("aborted", "left for another branch", steps, usage, cost)
    return {
        "output": end.output or said,
        "status": end.status,
        "reason": end.reason,
        "error": end.reason if end.status == "failed" else "",
        "steps": end.steps,
        "usage": end.usage,
        "cost": None if end.cost is None else dollars(end.cost),
    }
