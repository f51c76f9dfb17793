"""Where the runs of a process act: one sandbox for each folder, and folders for sessions that are forked."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import tempfile
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import final
from urllib.parse import quote

from holdfast.errors import SandboxError, UsageError
from holdfast.flow.ids import new_key
from holdfast.runtime.opening import data_folder, files_of, store_name, workspaces_of
from holdfast.sandbox.backends.choosing import LazyBackend
from holdfast.sandbox.egress.settings import Service
from holdfast.sandbox.fencing import kill_below
from holdfast.sandbox.locking import let_go
from holdfast.sandbox.longrunning.process import Process
from holdfast.sandbox.native.slots import folder as places
from holdfast.sandbox.native.slots import kill_owners, unseal
from holdfast.sandbox.policy.openshell import Policy
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.port import Posture
from holdfast.sandbox.sandbox import Sandbox
from holdfast.sandbox.snapshots.port import SnapshotStore
from holdfast.sandbox.snapshots.storing import in_thread
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.blobs import BlobStore
from holdfast.types import SessionId, SnapshotRef, StreamId, TenantId

__all__ = ("WITHOUT", "Sandboxes", "fill", "hidden_at", "sandboxes_of")

WITHOUT = Profile(backend="none")
"""Commands run as whoever runs us."""

_SCRATCH = ".compare-"
_LAST = 1 << 62
"""Above every epoch."""


@final
class Sandboxes:
    """Makes sandboxes; the stores of snapshots remember folders, so each tenant has one of each kind."""

    def __init__(
        self,
        blobs: BlobStore,
        folder: Path | None,
        own: tuple[Path, ...] = (),
        store: str = "",
        profile: Profile = WITHOUT,
    ) -> None:
        """`own` are paths that no snapshot holds and no tool changes; without a `folder` there is one until `close`.
        Commands run in what the `profile` says.
        """
        self._blobs = blobs
        self._store = store or f"{new_key()}:"
        self._passing = folder is None  # the log is in memory, too
        self._folder = folder or Path(tempfile.gettempdir()).resolve() / f"holdfast-{secrets.token_hex(8)}"
        self._own = tuple({path.resolve(): None for path in (*own, *((self._folder,) if self._passing else ()))})
        self._backend = LazyBackend(profile, _hidden(self._own, self._folder.resolve()))
        self._rollback = profile.workspace.rollback == "failed"
        self._confined = profile.backend != "none"
        self.ceiling = profile.tools
        """What tools may start that are programs or containers of their own."""
        self.protected = profile.workspace.protect if self._confined else ()
        """Paths in a workspace that nothing of a run writes; where commands run as we do, they could all the same."""
        self._trees: dict[TenantId, SnapshotStore] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def at(self, tenant: TenantId, folder: str | Path) -> Sandbox:
        """Returns the sandbox of a folder.

        Raises:
            SandboxError: it is no folder, or does not say which by a whole path: ours is nobody's workspace.
        """
        if not Path(folder).is_absolute():
            raise SandboxError(f"{str(folder)!r} does not say which folder to work in: name it from the root on")
        workspace = Workspace(Path(folder), apart=self._own, protected=self.protected)
        return Sandbox(
            workspace,
            self._backend,
            self._snapshots(tenant),
            self._store,
            tenant,
            rollback=self._rollback,
            confined=self._confined,
        )

    async def ready(self) -> Posture:
        """Returns what isolates commands here, once it was tried."""
        await self._backend.ready()
        return self._backend.posture

    async def update(self, policy: Policy, services: Mapping[str, Service]) -> Posture:
        """Decides about the network of commands by another policy from now on, and returns what isolates them then.

        Raises:
            UsageError, SandboxError: as `Backend.update` does; all goes on as before.
        """
        await self._backend.update(policy, services)
        return self._backend.posture

    def keepers(self, tenant: TenantId) -> Mapping[str, SnapshotStore]:
        """Returns a tenant's stores of snapshots by their names."""
        store = self._snapshots(tenant)
        return {store.name: store}

    def _snapshots(self, tenant: TenantId) -> SnapshotStore:
        if tenant not in self._trees:
            from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots

            self._trees[tenant] = TreeSnapshots(self._blobs, tenant, apart=self._own)
        return self._trees[tenant]

    def _make_place(self) -> Path:
        self._folder.mkdir(mode=0o700 if self._passing else 0o777, parents=True, exist_ok=True)
        return self._folder

    def folder_for(self, tenant: TenantId, session: SessionId) -> Path:
        """Returns the folder of a session that was given none; it may have been filled before."""
        self._make_place()
        folder = self._folder_of(tenant, session).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _folder_of(self, tenant: TenantId, session: SessionId) -> Path:
        return self._folder / _name_of(tenant) / f"session-{quote(session, safe='')}"

    async def discard(self, tenant: TenantId, session: SessionId) -> bool:
        """Removes the folder in the data folder that is of this session alone; returns whether there was one."""
        folder = self._folder_of(tenant, session)
        there = await asyncio.to_thread(os.path.lexists, folder)
        await in_thread(_remove, folder)
        return there

    def place(self, tenant: TenantId, session: SessionId, wanted: str | Path | None, parent: str = "") -> Path:
        """Returns an empty folder for a forked session: the one that is wanted, or one in the data folder.

        `parent` is the folder of the session that is forked, which neither lies in the new one nor around it, since
        putting its files back would take the fork's away; the data folder is spared there.

        Raises:
            UsageError: the one that is wanted holds something, cannot be made, or lies where the parent's does.
        """
        own = self._folder_of(tenant, session)
        folder = Path(wanted).expanduser().resolve() if wanted else own.resolve()
        if parent and not any(folder.is_relative_to(each) for each in self._own):
            theirs = Path(parent).resolve()
            if folder.is_relative_to(theirs) or theirs.is_relative_to(folder):
                raise UsageError(
                    f"the folder {str(folder)!r} and the workspace {parent!r} of the session that is forked lie in "
                    "each other, so going back in one would change the other: name a folder beside it"
                )
        try:
            self._make_place()
            folder.mkdir(parents=True, exist_ok=True)
            with os.scandir(folder) as found:
                held = next(found, None)
        except OSError as error:
            raise UsageError(f"the folder {str(folder)!r} cannot be made ({error.strerror}): name another") from error
        if held is not None:
            raise UsageError(f"the folder {str(folder)!r} is not empty: name one that is, or a new one")
        return folder

    @asynccontextmanager
    async def copy(
        self, sandbox: Sandbox, snapshots: tuple[SnapshotRef, ...], tenant: TenantId
    ) -> AsyncGenerator[Sandbox]:
        """Gives a folder of its own, for a while, in which the files are as the snapshots say."""
        scratch, mark = await asyncio.to_thread(_scratch, self._make_place())
        try:
            there = self.at(tenant, scratch)
            await fill(sandbox, there, snapshots)
            yield there
        finally:
            await in_thread(_clear, scratch, mark)

    def processes(self, stream: StreamId) -> Collection[Process]:
        """Returns those a session has here: what runs, and what ended within ten minutes."""
        return self._backend.processes.of(f"{self._store}{stream}")

    async def end_processes(self, stream: StreamId) -> None:
        """Ends the processes of a session that is over or deleted, whichever runtime keeps them."""
        owner = f"{self._store}{stream}"
        await self._backend.processes.end(owner)
        await asyncio.to_thread(kill_owners, places(), owner, _LAST)
        await asyncio.to_thread(unseal, places(), owner)
        await asyncio.to_thread(kill_below, owner, _LAST)

    def end_processes_soon(self, stream: StreamId) -> None:
        """Does the same without being waited for; `close` waits."""
        task = asyncio.create_task(self.end_processes(stream))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Removes the folders that are of no use without the log in memory, and the files of locks nobody has."""
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self._backend.close()
        let_go()
        if self._passing and self._folder.exists():
            await in_thread(_remove, self._folder)


def sandboxes_of(url: str, blobs: BlobStore, profile: Profile = WITHOUT) -> Sandboxes:
    """Returns the sandboxes of the store at a URL."""
    return Sandboxes(blobs, workspaces_of(url), files_of(url), store_name(url), profile)


async def fill(source: Sandbox, target: Sandbox, snapshots: tuple[SnapshotRef, ...]) -> None:
    """Makes the files of an empty folder what the snapshots say; doing it again comes to the same.

    Raises:
        SandboxError: a snapshot is lost, or the folder holds what is of none of them.
    """
    whole, *named = snapshots
    if not whole.whole:
        raise SandboxError("these snapshots do not say how all files were")
    try:
        await source.snapshots.clone(whole, target.workspace)
    except SandboxError:
        if not await _is_begun(target, whole, named):
            raise
        await target.snapshots.restore(target.workspace, whole)
    for each in named:
        await target.snapshots.restore(target.workspace, each)


async def _is_begun(target: Sandbox, whole: SnapshotRef, named: Sequence[SnapshotRef]) -> bool:
    """Returns whether a folder differs from the snapshot only in what is missing, and where layers lie over it."""
    store, covered = target.snapshots, set[str]()
    for layer in named:
        covered |= {change.path for change in await store.changes(target.workspace, layer, whole)}
    changes = await store.changes(target.workspace, whole)
    return bool(covered) and all(change.after is None or change.path in covered for change in changes)


def hidden_at(url: str) -> dict[Path, bool]:
    """Returns what no command in a sandbox sees of the store at a URL, and whether it is a folder."""
    folder = workspaces_of(url)
    own = tuple(path.resolve() for path in files_of(url))
    return _hidden(own, own[0] if folder is None or not own else folder.resolve()) if own else {}


def _hidden(own: tuple[Path, ...], workspaces: Path) -> dict[Path, bool]:
    """Returns what no command in a sandbox sees, and whether it is a folder: what is our own, and with it the person's
    whole folder for Holdfast, where it is in there.
    """
    data = data_folder().resolve()
    return {
        (data if each.is_relative_to(data) else each): each.is_relative_to(data) or each == workspaces for each in own
    }


def _name_of(tenant: TenantId) -> str:
    """Returns a name for a tenant's folder, which is one in the folder it is put into."""
    name = quote(tenant, safe="")
    return name if name.strip(".") else name.replace(".", "%2E")


def _scratch(place: Path) -> tuple[Path, int]:
    """Returns a new folder and the descriptor that marks it as used; removes those of processes that were killed."""
    from holdfast.sandbox.snapshots.walking.scanning import open_folder

    for left in place.glob(f"{_SCRATCH}*"):
        with suppress(OSError):
            mark = open_folder(str(left))
            try:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(left)
            finally:
                os.close(mark)
    scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=place))
    mark = open_folder(str(scratch))
    fcntl.flock(mark, fcntl.LOCK_EX)
    return scratch, mark


def _clear(scratch: Path, mark: int) -> None:
    try:
        _remove(scratch)
    finally:
        os.close(mark)


def _remove(folder: Path) -> None:
    """Removes a folder with all it holds, whatever rights its folders have; what cannot be removed stays."""
    from holdfast.sandbox.snapshots.applying import remove_folder

    remove_folder(folder)
