"""Which snapshots of a session's files its log names, and what each was taken for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from holdfast.engine.events import (
    FilesKept,
    FilesRestored,
    ModelFinished,
    Rewound,
    RunFinished,
    ToolStarted,
)
from holdfast.types import AssistantMessage, CallId, Event, SnapshotRef

__all__ = ("Kept", "Occasion", "snapshots_in")

Occasion = Literal["before-call", "run-over", "before-rollback", "put-back"]
"""Why a snapshot was taken: before a call that may change files, when a run was over, before files were put back, or
when they were."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot that the log names."""

    event: int
    """Going back to this event puts these files back."""
    turn: int
    """How many answers of the model the conversation held by then."""
    at: int
    """µs UTC."""
    occasion: Occasion
    tool: str = ""
    """Whose call it was taken before."""
    snapshot: SnapshotRef


def snapshots_in(events: Iterable[Event]) -> list[Kept]:
    """Returns the snapshots of a log that is given from its beginning, oldest first."""
    turns = [(0, 0)]  # from which event on there were how many
    names: dict[CallId, str] = {}
    found: list[Kept] = []

    def keep(event: Event, occasion: Occasion, snapshot: SnapshotRef, tool: str = "") -> None:
        kept = Kept(event=event.seq, turn=turns[-1][1], at=event.at, occasion=occasion, tool=tool, snapshot=snapshot)
        found.append(kept)

    for event in events:
        match event.data:
            case ModelFinished(message=message):
                turns.append((event.seq, turns[-1][1] + 1))
                names |= _names(message)
            case Rewound(to=to):
                turns.append((event.seq, next(many for since, many in reversed(turns) if since <= to)))
            case ToolStarted(snapshot=SnapshotRef() as snapshot) as data:
                tool = data.nested.name if data.nested is not None else names.get(data.call_id, "")
                keep(event, "before-call", snapshot, tool)
            case RunFinished(files=SnapshotRef() as files):
                keep(event, "run-over", files)
            case FilesKept(files=files):
                keep(event, "before-rollback", files)
            case FilesRestored(files=SnapshotRef() as files):
                keep(event, "put-back", files)
            case _:
                pass
    return found


def _names(message: AssistantMessage) -> dict[CallId, str]:
    return {call.id: call.name for call in message.calls}
