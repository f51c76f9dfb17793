"""Where the runs of a process act: one sandbox for each folder, and folders for sessions that are forked."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import rmtree
from typing import final
from urllib.parse import quote

from holdfast.errors import SandboxError, UsageError
from holdfast.flow.ids import new_key
from holdfast.runtime.opening import files_of, store_name, workspaces_of
from holdfast.sandbox.backends.none import NoIsolation
from holdfast.sandbox.sandbox import Sandbox
from holdfast.sandbox.snapshots.port import SnapshotStore
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.blobs import BlobStore
from holdfast.types import SessionId, SnapshotRef, TenantId

__all__ = ("Sandboxes", "fill", "sandboxes_of")


@final
class Sandboxes:
    """Makes sandboxes; the stores of snapshots remember folders, so each tenant has one of each kind."""

    def __init__(self, blobs: BlobStore, folder: Path | None, own: tuple[Path, ...] = (), store: str = "") -> None:
        self._blobs = blobs
        self._store = store or f"{new_key()}:"
        self._folder = folder
        self._own = own
        self._trees: dict[TenantId, SnapshotStore] = {}

    def at(self, tenant: TenantId, folder: str | Path) -> Sandbox:
        """Returns the sandbox of a folder.

        Raises:
            SandboxError: it is no folder.
        """
        workspace = Workspace(Path(folder))
        return Sandbox(workspace, NoIsolation(), self._snapshots(tenant), self._store)

    def keepers(self, tenant: TenantId) -> Mapping[str, SnapshotStore]:
        """Returns a tenant's stores of snapshots by their names."""
        store = self._snapshots(tenant)
        return {store.name: store}

    def _snapshots(self, tenant: TenantId) -> SnapshotStore:
        if tenant not in self._trees:
            self._trees[tenant] = TreeSnapshots(self._blobs, tenant, apart=self._own)
        return self._trees[tenant]

    def _place(self) -> Path:
        if self._folder is None:  # the log is in memory, too
            self._folder = Path(tempfile.mkdtemp(prefix="holdfast-"))
        return self._folder

    def place(self, tenant: TenantId, session: SessionId, wanted: str | Path | None) -> Path:
        """Returns an empty folder for a forked session: the one that is wanted, or one in the data folder.

        Raises:
            UsageError: the one that is wanted holds something, or cannot be made.
        """
        own = self._place() / quote(tenant, safe="") / f"session-{quote(session, safe='')}"
        folder = Path(wanted).expanduser().resolve() if wanted else own
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(os.scandir(folder)):
                raise UsageError(f"the folder {str(folder)!r} is not empty: name one that is, or a new one")
        except OSError as error:
            raise UsageError(f"the folder {str(folder)!r} cannot be made ({error.strerror}): name another") from error
        return folder

    @asynccontextmanager
    async def copy(
        self, sandbox: Sandbox, snapshots: tuple[SnapshotRef, ...], tenant: TenantId
    ) -> AsyncGenerator[Sandbox]:
        """Gives a folder of its own, for a while, in which the files are as the snapshots say."""
        place = self._place()
        place.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.mkdtemp(prefix=".compare-", dir=place)
        try:
            there = self.at(tenant, scratch)
            await fill(sandbox, there, snapshots)
            yield there
        finally:
            with contextlib.suppress(OSError):
                rmtree(scratch)


def sandboxes_of(url: str, blobs: BlobStore) -> Sandboxes:
    """Returns the sandboxes of the store at a URL."""
    return Sandboxes(blobs, workspaces_of(url), files_of(url), store_name(url))


async def fill(source: Sandbox, target: Sandbox, snapshots: tuple[SnapshotRef, ...]) -> None:
    """Makes the files of an empty folder what the snapshots say; doing it again comes to the same.

    Raises:
        SandboxError: a snapshot is lost.
    """
    whole, *named = snapshots
    if not whole.whole:
        raise SandboxError("these snapshots do not say how all files were")
    await source.snapshots.clone(whole, target.workspace)
    for each in named:
        await target.snapshots.restore(target.workspace, each)
