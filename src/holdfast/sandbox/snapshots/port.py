"""The port of snapshot stores.

A store keeps how a workspace was. What belongs to that: every file, folder and link below the workspace, with its
name byte for byte, its permission bits and its content; an empty folder too. What does not: times, owners,
extended attributes, and that two names are one file (each becomes a file of its own). FIFOs, sockets and devices
are noted as `special` and left alone.

No call may run in the workspace while a store works on it. A file that changes all the same is kept as it was at
one instant of the work, and nothing is read or written outside the workspace.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from holdfast.sandbox.workspace import Workspace
from holdfast.types import Changes, Digest, FaultClass, SnapshotRef

__all__ = ("BOUNDS", "Bounds", "SnapshotStore")


class Bounds(msgspec.Struct, frozen=True, gc=False):
    """How large a tree may be that is kept."""

    files: int = 200_000
    """Names of every kind."""
    size: int = 4 * 1024**3
    """Bytes in files, together."""
    depth: int = 128
    """Folders inside each other."""


BOUNDS = Bounds()
"""The bounds that hold when none are given."""


class SnapshotStore(Protocol):
    """How workspaces were. Each method may be called again after it was cut off at any instant."""

    name: str
    """What its references call it: `tree`, `overlay` or `btrfs`."""

    @property
    def survives(self) -> FaultClass:
        """What a whole snapshot survives once its capture has returned."""
        ...

    async def capture(self, workspace: Workspace, paths: Sequence[str] | None = None) -> SnapshotRef:
        """Keeps the whole tree, or only what is at the paths, and returns where it is found again.

        The snapshot is as durable as the blobs once this returns. Of a path the links on the way are followed as
        a write would follow them; a link at its end is kept itself and so is what it points to; where nothing is,
        that is kept, with the folders that are missing. A folder that is named is kept without its contents.

        Raises:
            PathEscape: a path leads out of the workspace.
            SandboxError: the tree is over a bound, or something in it cannot be read.
        """
        ...

    async def restore(self, workspace: Workspace, ref: SnapshotRef) -> None:
        """Makes the tree, or the paths of the snapshot, as they were; what was added since is gone.

        What is as it was is not touched. A file that has to be written anew gets no setuid or setgid bit.

        Raises:
            SandboxError: the snapshot is of another store or lost, or the files change while this goes on.
        """
        ...

    async def changes(self, workspace: Workspace, before: SnapshotRef, after: SnapshotRef | None = None) -> Changes:
        """Returns what differs between two snapshots, or between one and the files as they are now.

        When one of them covers only some paths, those are compared.

        Raises:
            SandboxError: a snapshot is of another store, or lost.
        """
        ...

    async def read(self, workspace: Workspace, ref: SnapshotRef | None, path: str, limit: int) -> bytes:
        """Returns the first `limit` bytes of a file as the snapshot has it, or as it is now when none is given.

        Raises:
            SandboxError: the snapshot is of another store or lost, or has no such file.
        """
        ...

    async def clone(self, ref: SnapshotRef, target: Workspace) -> None:
        """Makes an empty folder the tree of a whole snapshot.

        Raises:
            SandboxError: the folder holds something that is not of the tree; the snapshot is not whole, or lost.
        """
        ...

    def digests(self, ref: SnapshotRef) -> AsyncIterator[Digest]:
        """Gives every blob that must be kept for the snapshot, its manifest among them; some more than once.

        Raises:
            SandboxError: the snapshot is of another store, or lost.
        """
        ...

    async def check(self, ref: SnapshotRef) -> None:
        """Ends quietly when a snapshot that came from elsewhere is no larger than one that is made here.

        Raises:
            SandboxError: it is, or it is of another store, or lost.
        """

    def doubt(self, workspace: Workspace, *, lasting: bool) -> None:
        """Says whether something goes on in a workspace that may write files in ways which nobody is told of before it
        is over, as through a mapping; as long as it does, a look at the files is at all of them.

        Does nothing where that is so anyway.
        """

    async def release(self, workspace: Workspace) -> None:
        """Takes away what the store put in the place of a folder, such as a mount, so that the folder can be removed;
        what is in it then is not promised.

        Raises:
            SandboxError: something still uses it.
        """
        ...

    async def drop(self, ref: SnapshotRef) -> None:
        """Lets go of what the store holds for the snapshot outside blobs; nothing happens when that is nothing."""
        ...
