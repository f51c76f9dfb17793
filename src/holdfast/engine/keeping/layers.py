"""How the files of a session were at one of its events: which snapshots say so, and in what order.

The log holds, for each call that may change files, how they were just before it: all of them, or those it names. So
the files at event N are, path by path, what the first call after N that names the path found there; for the other
paths, what the first whole snapshot after N holds; and where there is none, what is there now. A call that was open at
N counts as not begun: in a branch it never happened. But where N says itself how the files were, they were that.

Changes that nobody told the log of (a person's editor) are seen by whole snapshots only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import msgspec

from holdfast.engine.events import (
    CallReopened,
    FilesKept,
    FilesRestored,
    Forked,
    Rewound,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
)
from holdfast.errors import SandboxError
from holdfast.types import CallId, Event, SnapshotRef

__all__ = ("Layers", "files_at", "folder_of")


class Layers(msgspec.Struct, frozen=True):
    """What to put back, in this order, to have the files as they were."""

    workspace: str = ""
    """The folder, in a fork its own; empty when the session had none, and got none later."""
    snapshots: tuple[SnapshotRef, ...] = ()
    """A whole one first, if there is one; each later one lies over what came before."""
    foreign: bool = False
    """Whether all up to there came from a file, as the log says further on."""

    @property
    def whole(self) -> bool:
        """Whether the snapshots say everything; otherwise they lie over the files as they are now."""
        return bool(self.snapshots) and self.snapshots[0].whole


def files_at(events: Iterable[Event], at: int) -> Layers:
    """Returns how the files were at event `at` of a log that is given from its beginning.

    Raises:
        SandboxError: a call after `at` may have changed files of which nothing was kept.
    """
    search, own, foreign = _Search(at), "", False
    told = list(events)
    for event in told:
        if event.seq > at and isinstance(event.data, Forked):
            own = event.data.workspace or own  # of a fork of a fork, the last one's
            foreign = foreign or event.data.foreign or not event.data.parent
    for event in told:
        if event.seq > at and not search.passed:
            search.cross()
        if search.full or search.see(event):
            break
    else:
        search.cross()
    return Layers(own or search.workspace, tuple(reversed(search.layers)), foreign)


def folder_of(events: Iterable[Event]) -> str:
    """Returns the folder a session works in; empty when it has none."""
    folder = ""
    for event in events:
        match event.data:
            case RunStarted() as data:
                folder = data.setup.workspace or folder
            case Forked() | Rewound() as data:
                folder = data.workspace or folder
            case _:
                pass
    return folder


@final
class _Search:
    def __init__(self, at: int) -> None:
        self.at = at
        self.workspace = ""
        self.layers: list[SnapshotRef] = []
        self.open: dict[CallId, Event] = {}
        self.pending: tuple[SnapshotRef, ...] = ()
        """What a fork or a rewind wanted and had not put back by then."""
        self.passed = False

    @property
    def full(self) -> bool:
        return bool(self.layers) and self.layers[-1].whole

    def cross(self) -> None:
        """Takes in what was under way when `at` was reached."""
        if not self.passed:
            self.passed = True
            self.layers.extend(reversed(self.pending))
            for event in self.open.values():
                if not self.full:
                    self._started(event)

    def see(self, event: Event) -> bool:
        """Takes one event in, and returns whether those behind it say nothing more."""
        match event.data:
            case FilesKept(files) if event.seq == self.at:
                self.passed = True
                self.layers.append(files)  # also what came after the beginning of a call that is open still
            case RunFinished(files=SnapshotRef() as files) | FilesKept(files) if event.seq >= self.at:
                self.cross()
                if not self.full:
                    self.layers.append(files)
            case _ if self.passed:
                return self._after(event)
            case RunStarted() as data:
                self.workspace = data.setup.workspace or self.workspace
            case Forked() | Rewound() as data:
                self.workspace = data.workspace or self.workspace
                self.pending = data.files
                self.open.clear()
            case FilesRestored():
                self.pending = ()
            case ToolStarted() as data if data.effect.workspace:
                self.open[data.call_id] = event
            case ToolFinished() | CallReopened() as data:
                self.open.pop(data.call_id, None)
            case _:
                pass
        return False

    def _after(self, event: Event) -> bool:
        match event.data:
            case RunStarted() as data:
                self.workspace = self.workspace or data.setup.workspace
                return bool(data.setup.workspace) and data.setup.workspace != self.workspace  # it works elsewhere now
            case Forked() as data:
                self.workspace = data.workspace or self.workspace
                self.layers.extend(reversed(data.files))
                return True
            case Rewound(workspace=folder) if folder and folder != self.workspace:
                return True  # it goes on elsewhere
            case ToolStarted() as data if data.effect.workspace:
                self._started(event)
            case _:
                pass
        return False

    def _started(self, event: Event) -> None:
        data = event.data
        assert isinstance(data, ToolStarted)
        if data.snapshot is None:
            why = f" ({data.unsaved})" if data.unsaved else ""
            raise SandboxError(
                f"the files at event {self.at} are not known: the call that began at event {event.seq} may have "
                f"changed some, and nothing was kept of them{why}; choose an event after it"
            )
        self.layers.append(data.snapshot)
