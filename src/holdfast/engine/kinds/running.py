"""How runs begin and end, in phases or branches, and how their files are then."""

from __future__ import annotations

from typing import ClassVar

from holdfast.engine.letters import Setup, Status
from holdfast.types import Payload, SnapshotRef, Usage, Wait

__all__ = (
    "FilesKept",
    "FilesRestored",
    "Forked",
    "PhaseFailed",
    "PhaseStarted",
    "Rewound",
    "RunClosed",
    "RunFinished",
    "RunStarted",
)


class RunStarted(Payload, frozen=True, gc=False, omit_defaults=True):
    """A prompt left the queue and opened a run."""

    type: ClassVar[str] = "run.started"
    must_understand: ClassVar[bool] = True
    input: int
    """Sequence number of the prompt's `input.received`."""
    setup: Setup


class PhaseStarted(Payload, frozen=True, gc=False, omit_defaults=True):
    """A phase of a pipeline is a job of another session now, and its answer is waited for."""

    type: ClassVar[str] = "phase.started"
    must_understand: ClassVar[bool] = True
    phase: int
    """Its place, from 0."""
    wait: Wait


class PhaseFailed(Payload, frozen=True, gc=False, omit_defaults=True):
    """A phase could not be started."""

    type: ClassVar[str] = "phase.failed"
    phase: int
    why: str


class FilesRestored(Payload, frozen=True, gc=False, omit_defaults=True):
    """The workspace is as a fork or a rewind wanted it."""

    type: ClassVar[str] = "files.restored"
    files: SnapshotRef | None = None
    """All of it; None when nobody looked."""
    before: SnapshotRef | None = None
    """How it was just before, where whoever began had been stopped."""


class FilesKept(Payload, frozen=True, gc=False):
    """How the workspace was at this moment, whoever changed it: a rewind is taken back by one to here."""

    type: ClassVar[str] = "files.kept"
    files: SnapshotRef


class RunFinished(Payload, frozen=True, gc=False, omit_defaults=True):
    """A run is over; the answer, if there is one, is the conversation's last message."""

    type: ClassVar[str] = "run.finished"
    status: Status
    reason: str = ""
    """Which limit, whose abort, what failure; empty when completed."""
    steps: int = 0
    usage: Usage = Usage()
    cost: int | None = None
    """Nanodollars; None when a price was unknown."""
    denied: int = 0
    """Calls that were not allowed: by the mode, a policy, a hook or a person, or because nobody could be asked."""
    files: SnapshotRef | None = None
    """How the workspace was left; None when the run changed nothing there, or it could not be kept."""
    output: str = ""
    """The answer, where it is no message of this conversation."""


class RunClosed(Payload, frozen=True, gc=False):
    """What was owed when a run was over is done: whoever waited for it knows how it ended."""

    type: ClassVar[str] = "run.closed"
    run: int
    """Sequence number of its `run.started`."""


class Forked(Payload, frozen=True, gc=False, omit_defaults=True):
    """This stream shares its parent's records up to `at`; open calls and waits stayed with the parent."""

    type: ClassVar[str] = "session.forked"
    must_understand: ClassVar[bool] = True
    parent: str
    """Empty where it came from a file: nothing else is shared with the session it was."""
    at: int
    workspace: str = ""
    """Its own folder; empty when the parent has none."""
    files: tuple[SnapshotRef, ...] = ()
    """How the files were at `at`: a whole snapshot, then what to put back over it, in this order."""
    foreign: bool = False
    """Whether all up to `at` came from a file, and the parent's event that says so stands behind it."""


class Rewound(Payload, frozen=True, gc=False, omit_defaults=True):
    """What came after `to` is out of the conversation; what it spent stays spent."""

    type: ClassVar[str] = "session.rewound"
    must_understand: ClassVar[bool] = True
    to: int
    files: tuple[SnapshotRef, ...] = ()
    """How the files were at `to`, as in `Forked`; empty when there is nothing to put back."""
    workspace: str = ""
    """Where the session works from here on: a fork stays in its own folder, however far it is taken back."""
