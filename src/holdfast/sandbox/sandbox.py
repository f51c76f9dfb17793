"""Where a run acts: its folder, what its commands run in, and how its files are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from holdfast.errors import SandboxError
from holdfast.sandbox.locking import Exclusive
from holdfast.sandbox.port import Backend
from holdfast.sandbox.snapshots.port import SnapshotStore
from holdfast.sandbox.snapshots.storing import in_thread
from holdfast.sandbox.workspace import Workspace

__all__ = ("Sandbox",)


class Sandbox(msgspec.Struct, frozen=True):
    """One workspace and everything that is done to it."""

    workspace: Workspace
    backend: Backend
    snapshots: SnapshotStore
    store: str = ""
    """Tells the sessions of this log from those of others on this machine, which may have the same names."""
    tenant: str = ""
    """Tells them from those of other tenants in the log."""
    rollback: bool = False
    """Whether files are put back after a call that failed."""
    confined: bool = False
    """Whether its commands are kept from everything else, however that is done: so the profile says."""

    @asynccontextmanager
    async def fork(self, n: int, place: Path) -> AsyncGenerator[tuple[Sandbox, ...]]:
        """Gives `n` sandboxes that begin with the files as they are now, all live at once, each in a folder of its own
        in `place`; with the block their folders go, and what was not brought elsewhere from them.

        Stores that lay changes over a shared base make each in the same time, however many files there are. Where one
        cannot be made, none is left.

        Raises:
            SandboxError: the files cannot be kept, or a folder is there already or in use still when the block ends.
        """
        ref = await self.snapshots.capture(self.workspace)
        made: list[Sandbox] = []
        try:
            for number in range(1, n + 1):
                folder = place / f"branch-{number}"
                try:
                    folder.mkdir(parents=True)
                except OSError as error:
                    raise SandboxError(f"the folder {str(folder)!r} cannot be made: {error.strerror}") from error
                branch = msgspec.structs.replace(self, workspace=self.workspace.elsewhere(folder))
                made.append(branch)
                await self.snapshots.clone(ref, branch.workspace)
            yield tuple(made)
        finally:
            await asyncio.shield(self._release(made))

    async def _release(self, branches: Sequence[Sandbox]) -> None:
        from holdfast.sandbox.snapshots.applying import remove_folder  # noqa: PLC0415 - most sandboxes never fork

        refused: SandboxError | None = None
        for branch in branches:
            try:
                await self.snapshots.release(branch.workspace)
                await in_thread(remove_folder, branch.workspace.root)
            except SandboxError as error:
                refused = refused or error
        if refused is not None:
            raise refused

    def exclusive(self, owner: str, wait: float) -> Exclusive:
        """Returns the right to change the workspace's files, for an `async with` block: nobody else has it meanwhile,
        in this process or another of this user.

        Args:
            owner: Who asks, in words that somebody is told who finds it taken, such as `session 'a'`; the same owner
                of this log and tenant may enter again while it is inside.
            wait: Seconds after which entering raises `WorkspaceBusy`; with 0 it is tried once.
        """
        return Exclusive(str(self.workspace.root), f"{self.store}{self.tenant}", owner, wait)
