"""What those who ask for something to be done with whole sessions are told of it, and what they may ask for.

Apart from what does it, which is loaded when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Literal

import msgspec

from holdfast.engine.keeping.snapshots import Occasion
from holdfast.errors import UsageError
from holdfast.types import Changes, FaultClass, SessionId

__all__ = (
    "Collected",
    "Collecting",
    "Deleted",
    "Difference",
    "Imported",
    "Loading",
    "Phase",
    "Refused",
    "Retention",
    "ScrubReport",
    "Snapshot",
)

Phase = Literal["reading", "following", "removing"]
"""Of a collection: through the log, through the snapshots that are kept, through the blobs."""
Collecting = Callable[[Phase, int, int], None]
"""Is told how many events, snapshots or blobs are done, and of how many."""
Loading = Callable[[int], None]
"""Is told how many bytes of the file were read; it is read twice."""


class Difference(msgspec.Struct, frozen=True):
    """What is not as it was."""

    changes: Changes
    """Path by path, sorted."""
    text: str
    """The same as a unified diff, cut where it is very long."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a session's files were, as far as it was kept."""

    event: int
    """Going back to this event puts these files back."""
    turn: int
    """How many answers of the model the conversation held by then."""
    at: int
    """µs UTC."""
    occasion: Occasion
    tool: str = ""
    """Whose call it was taken before."""
    store: str
    survives: FaultClass | None = None
    """What it survives; None when its store is not here."""
    paths: tuple[str, ...] = ()
    """What it covers, unless that is the whole folder."""
    changed: int | None = None
    """How many paths are not as in the snapshot of the whole folder before it; None when there is none, or one of the
    two is no longer kept, or this is not of the whole folder."""


class Retention(msgspec.Struct, frozen=True):
    """Which snapshots of a session are kept; those that something under way needs always are.

    Raises:
        UsageError: a number is negative, or a time has no end.
    """

    snapshots: int = 200
    """The newest so many of whole trees, and as many of single paths; a fork's are counted into its parent's past."""
    days: float = 30
    """And all that are younger."""
    sessions: float | None = None
    """Days after which a session in which nothing happened is deleted; None keeps them all."""

    def __post_init__(self) -> None:
        if self.snapshots < 0 or self.days < 0 or (self.sessions or 0) < 0:
            raise UsageError("a retention counts from 0: keep so many snapshots, or those of so many days, or more")
        if not (isfinite(self.days) and isfinite(self.sessions or 0)):
            raise UsageError("a retention counts days: name how many, or leave `sessions` out to keep them all")


class Refused(msgspec.Struct, frozen=True):
    """A session that was to be deleted, and stays."""

    session: SessionId
    why: str


class Collected(msgspec.Struct, frozen=True):
    """What a collection did."""

    kept: int
    """Blobs."""
    removed: int
    """Blobs."""
    bytes: int
    """Of the blobs that were removed."""
    snapshots_kept: int
    snapshots_let_go: int
    """Snapshots in the log that cannot be restored any more."""
    sessions: tuple[SessionId, ...] = ()
    """Which were deleted."""
    refused: tuple[Refused, ...] = ()
    """Which were to be deleted, and stay."""


class Deleted(msgspec.Struct, frozen=True):
    """What a deletion did."""

    sessions: tuple[SessionId, ...] = ()
    events: int = 0
    """How many were removed."""
    shared: int = 0
    """How many stay because forks share them."""
    blobs: int = 0
    """How many were removed."""
    left: int = 0
    """Blobs that stay until the next collection, though only these sessions named them."""
    refused: tuple[Refused, ...] = ()
    """Sessions that were to go, and stay."""


class ScrubReport(msgspec.Struct, frozen=True):
    """What a scrub did."""

    events: tuple[int, ...] = ()
    """Whose content was taken out."""
    blobs: int = 0
    """How many were removed."""
    snapshots: int = 0
    """Snapshots of files that held the words, and cannot be restored any more."""
    left: int = 0
    """Blobs that held it and stay: other sessions name them, or somebody works and the next collection removes them."""
    named: tuple[int, ...] = ()
    """Events that still hold the words where they cannot be taken out, such as the name of a folder or a file."""


class Imported(msgspec.Struct, frozen=True):
    """What an import did."""

    session: SessionId
    """Its name here."""
    source: str
    """The session it was, as `tenant/session`."""
    events: int
    """How many came from the file."""
    blobs: int
    workspace: str = ""
    """Its folder; empty when it had none."""
    files: bool = False
    """Whether the files are there as they were at its end; otherwise the folder is empty."""
