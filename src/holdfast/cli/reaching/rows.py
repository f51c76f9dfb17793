"""Runs at a server, as a list of runs shows them."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nlargest

import msgspec

from holdfast.cli.listing import Listed
from holdfast.engine.events import RunStarted
from holdfast.runtime.sessions.listing import Listed as Entry
from holdfast.runtime.sessions.viewing import SessionView
from holdfast.types import Event, from_dollars, session_of

__all__ = ("PAGES", "Row", "newest", "row_of")

PAGES = 25
"""Pages of sessions that are looked at for the newest ones: five thousand."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in a session's log of its last run, and in no list."""

    started: int
    """µs UTC."""
    seq: int = 0
    model: str = ""
    parent: str = ""
    steps: int | None = None
    tokens: int | None = None
    cost: float | None = None

    @staticmethod
    def of_event(event: Event) -> Row:
        """Returns what the event that opens a run says."""
        setup = event.data.setup if isinstance(event.data, RunStarted) else None
        lineage = None if setup is None else setup.lineage
        return Row(
            started=event.at,
            seq=event.seq,
            model="" if setup is None else setup.model or "pipeline",
            parent="" if lineage is None else session_of(lineage.parent),
        )

    @staticmethod
    def of_view(view: SessionView) -> Row:
        """Returns what the view of a session says."""
        run = view.run or view.last
        if run is None:
            return Row(started=view.created_at)
        return Row(
            started=run.started_at,
            seq=run.run,
            model=run.model or "pipeline",
            steps=run.steps,
            tokens=run.usage.total_tokens,
            cost=run.cost,
        )


def newest(entries: Iterable[Entry], most: int) -> list[Entry]:
    """Returns sessions, those that changed last first."""
    return nlargest(most, entries, key=lambda each: each.updated_at)


def row_of(entry: Entry, row: Row) -> Listed:
    """Returns a session's last run as a list shows it."""
    last = entry.last
    if last is None:
        return Listed(entry.session, 0, row.started, "forked", "", prompt=f"⑂ {entry.parent}")
    steps, tokens, cost = last.steps, last.tokens, last.cost
    if row.steps is not None:
        steps, tokens, cost = row.steps, row.tokens or 0, row.cost
    return Listed(
        session=entry.session,
        seq=row.seq,
        started=row.started,
        status=last.status or entry.state,
        model=row.model,
        steps=steps,
        tokens=tokens,
        cost=None if cost is None else from_dollars(cost),
        prompt=last.prompt,
        parent=row.parent,
    )
