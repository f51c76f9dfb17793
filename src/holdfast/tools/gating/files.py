"""The place a run's calls act in, and its files: saved before they change, put back, compared.

Not here: whether a call may be made, and what it does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

import msgspec

from holdfast.errors import HoldfastError, PathEscape, SandboxError
from holdfast.journal.owning import Pen
from holdfast.sandbox.longrunning.process import Process
from holdfast.sandbox.port import Posture
from holdfast.sandbox.sandbox import Sandbox
from holdfast.sandbox.snapshots.differences import unified
from holdfast.sandbox.snapshots.port import SnapshotStore
from holdfast.sandbox.snapshots.storing import in_thread
from holdfast.tools import authored
from holdfast.tools.gating.admitted import Admitted
from holdfast.tools.results import Refused, refusal
from holdfast.types import SnapshotRef, StreamId, session_of

__all__ = ("Place", "ensure_held", "owner_of")

_NOWHERE = Posture("none")
_TURN_SECONDS = 300.0
"""Seconds that a call waits while another session changes files of the same folder."""
_DIFF = 8_000
"""Characters of the changes of files that the model gets to read when an outcome is unknown."""


def owner_of(stream: StreamId) -> str:
    """Returns how a session is called where somebody else finds its folder taken."""
    return f"session {session_of(stream)!r}"


class Place(msgspec.Struct, eq=False, kw_only=True):
    """Where the calls of one run act."""

    stream: StreamId
    sandbox: Sandbox | None
    _pen: Pen | None = None

    async def fence(self) -> int:
        """Kills what an earlier owner's commands left running, and returns how many processes that were."""
        if self.sandbox is None or self._pen is None:
            return 0
        return await self.sandbox.backend.attach(self._owner, self._pen.epoch)

    @property
    def _owner(self) -> str:
        return f"{self.sandbox.store}{self.stream}" if self.sandbox else self.stream

    @property
    def processes(self) -> Collection[Process]:
        """Those of this session that go on in this process, and those that ended lately."""
        return () if self.sandbox is None else self.sandbox.backend.processes.of(self._owner)

    @property
    def posture(self) -> Posture:
        """What isolates the commands of this run."""
        return _NOWHERE if self.sandbox is None else self.sandbox.backend.posture

    async def protect(self, admitted: Admitted) -> Admitted | Refused:
        """Returns the call with a snapshot of the files it may change: of those it names, or of the whole workspace.

        A workspace that is too large to be kept whole is no reason not to work in it: then the call says that
        nothing was saved.
        """
        sandbox = self.sandbox
        if not admitted.effect.workspace or sandbox is None:
            return admitted
        paths = authored.paths_of(admitted.tool, admitted.arguments)
        if isinstance(paths, Refused):
            return paths
        if paths is None:
            if guarded := sandbox.backend.guarded:
                from holdfast.sandbox.native.guarding import look  # noqa: PLC0415 - with the first such call

                _, none = await asyncio.to_thread(look, sandbox.workspace.root, guarded)
                admitted = msgspec.structs.replace(admitted, absent=tuple(sorted(none)))
            try:
                return msgspec.structs.replace(
                    admitted, snapshot=await self._looking(sandbox).capture(sandbox.workspace)
                )
            except (HoldfastError, OSError) as error:
                return msgspec.structs.replace(admitted, unsaved=str(error))
        try:
            snapshot = await sandbox.snapshots.capture(sandbox.workspace, paths)
        except PathEscape as error:
            return refusal(str(error), "permission_denied", "tool_permission_denied", denied=True)
        except (HoldfastError, OSError) as error:
            return refusal(
                f"The files could not be saved beforehand: {error}", "execution_failed", "tool_backend_failure"
            )
        return msgspec.structs.replace(admitted, snapshot=snapshot)

    def exclusive(self, *, wait: bool = True) -> AbstractAsyncContextManager[object]:
        """Returns the right to change files of the workspace, which one session has at a time.

        Entering raises `WorkspaceBusy` when another one keeps it too long; without `wait`, when another one has it.
        """
        if self.sandbox is None:
            return nullcontext()
        return self.sandbox.exclusive(owner_of(self.stream), _TURN_SECONDS if wait else 0.0)

    def _looking(self, sandbox: Sandbox) -> SnapshotStore:
        """Returns the store of snapshots, which now knows whether processes go on that may write to any file."""
        sandbox.snapshots.doubt(sandbox.workspace, lasting=any(each.code is None for each in self.processes))
        return sandbox.snapshots

    async def capture(self) -> SnapshotRef | None:
        """Returns how the whole workspace is; None when there is none, or it cannot be kept."""
        if self.sandbox is None:
            return None
        try:
            return await self._looking(self.sandbox).capture(self.sandbox.workspace)
        except (HoldfastError, OSError):
            return None

    async def restore(self, snapshot: SnapshotRef) -> None:
        """Puts the files of a snapshot back.

        Raises:
            SandboxError, OSError: it cannot be done; what was put back by then stays.
        """
        if self.sandbox is not None:
            await self.sandbox.snapshots.restore(self.sandbox.workspace, snapshot)

    @property
    def rolls_back(self) -> bool:
        """Whether files are put back after a call that failed."""
        return self.sandbox is not None and self.sandbox.rollback

    async def roll_back(self, admitted: Admitted) -> bool:
        """Puts the files back after a call that failed or was stopped, where that is wanted and there is a snapshot;
        returns whether there was anything to put back.

        Raises:
            Fenced: the session has another owner, who puts them back.
            SandboxError: it cannot be done; what was put back by then stays.
        """
        sandbox, snapshot = self.sandbox, admitted.snapshot
        if sandbox is None or not sandbox.rollback or snapshot is None:
            return False
        if self._pen is not None:
            await self._pen.hold()
        try:
            if not await self._looking(sandbox).changes(sandbox.workspace, snapshot):
                return False
            await sandbox.snapshots.restore(sandbox.workspace, snapshot)
        except (SandboxError, OSError) as error:
            raise SandboxError(
                f"what {admitted.call.name!r} did to files before it failed cannot be undone: {error}"
            ) from error
        return True

    async def changed(self, snapshot: SnapshotRef) -> str:
        """Returns what is different from a snapshot now, in words the model reads; empty when that cannot be told."""
        if self.sandbox is None:
            return ""
        store, workspace = self._looking(self.sandbox), self.sandbox.workspace
        try:
            changes = await store.changes(workspace, snapshot)
            text = await unified(store, workspace, changes, snapshot, limit=_DIFF)
        except (HoldfastError, OSError):
            return ""
        return f"Files that changed since it began:\n{text}" if text else "No file changed since it began."

    async def appeared(self, paths: Sequence[str]) -> frozenset[str]:
        """Returns those of the paths that are protected in the workspace, and at which there is something."""
        if self.sandbox is None or not paths:
            return frozenset()
        from holdfast.sandbox.native.guarding import appeared  # noqa: PLC0415 - with the first such call

        return await asyncio.to_thread(appeared, self.sandbox.workspace.root, paths, self.sandbox.backend.guarded)

    async def put_away(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Removes what is at protected paths where nothing was before a call, and returns what that was: programs
        outside obey it, and whoever would have removed it was killed. Other paths stay, whatever a log says of them.

        Raises:
            OSError: it cannot be done.
        """
        if self.sandbox is None or not (there := await self.appeared(paths)):
            return ()
        from holdfast.sandbox.native.guarding import put_away  # noqa: PLC0415 - with the first such call

        folder = self.sandbox.workspace.root
        return await in_thread(lambda: put_away(folder, there))


def ensure_held(pen: Pen, loop: asyncio.AbstractEventLoop) -> None:
    """Raises when this process has lost the session; the event loop itself cannot wait for what it has to do."""
    if pen.held:
        return
    if threading.get_ident() == getattr(loop, "_thread_id", None):
        raise SandboxError("the lease of the session ran out, so nothing is changed: call it again")
    asyncio.run_coroutine_threadsafe(pen.hold(), loop).result()
