"""Removes what no log needs any more: blobs nothing refers to, and snapshots past their retention.

Mark and sweep. Read are first the letters that lie unread, then the log to its end: a letter that is taken meanwhile
stands in the log by then. What is written after that refers to blobs put or touched within the grace, or to what
stood in the log before. The sweep spares both, so nothing that runs has to stop or to wait.

What cannot be understood is not guessed at: a snapshot of a store this process has not got, or an event whose content
is lost, ends the collection before it removes anything.

In memory are 32 bytes and a set's slot for each blob that is needed, and a line for each snapshot in the log.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from typing import NamedTuple, Protocol

from holdfast.engine.events import CODEC, FilesRestored, Forked, Rewound, RunFinished, ToolFinished, ToolStarted
from holdfast.engine.keeping.references import may_refer, references, references_in
from holdfast.errors import SandboxError, UsageError
from holdfast.flow.clock import Clock, SystemClock
from holdfast.journal.port import FeedItem, Head, Journal
from holdfast.journal.reading import decode_record
from holdfast.runtime.history.reports import Collected, Collecting, Phase, Retention
from holdfast.runtime.opening import open_values
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.storage.blobs import GRACE, REFRESH, BlobStore, Marks, Swept
from holdfast.types import Digest, Event, SnapshotRef, StreamId, TenantId, tenant_of

__all__ = (
    "Keeper",
    "Keepers",
    "Survey",
    "collect",
    "portable",
)

_PAGE = 1000
_CLOSING = (ToolFinished.type, FilesRestored.type, RunFinished.type, Rewound.type)
"""Events after which a snapshot is not needed to go on."""
_FILES = "files"
"""What a fork or a rewind that was begun stands under, among the calls; no call of a model has an id like that."""


class Keeper(Protocol):
    """A snapshot store, as far as a collection needs one."""

    def digests(self, ref: SnapshotRef) -> AsyncIterator[Digest]:
        """Gives every blob that must be kept for the snapshot.

        Raises:
            SandboxError: the snapshot is lost, or cannot be read.
        """
        ...

    async def drop(self, ref: SnapshotRef) -> None:
        """Lets go of what the store holds outside blobs."""
        ...


Keepers = Callable[[TenantId], Mapping[str, Keeper]]
"""Gives a tenant's snapshot stores by their names."""


def portable(blobs: BlobStore) -> Keepers:
    """Returns the stores that work everywhere: snapshots that are blobs themselves."""
    trees: dict[TenantId, Mapping[str, Keeper]] = {}
    return lambda tenant: trees.setdefault(tenant, {TreeSnapshots.name: TreeSnapshots(blobs, tenant)})


async def collect(
    journal: Journal,
    snapshots: Keepers,
    *,
    tenant: TenantId | None,
    clock: Clock,
    keep: Retention | None = None,
    grace: float = GRACE,
    dry_run: bool = False,
    progress: Collecting | None = None,
) -> Collected:
    """Removes a tenant's blobs, or everybody's, that the log does not need; with `dry_run` only counts them.

    It may run beside anything else, also beside another collection, and be stopped at any time.

    Args:
        journal: The log, and its blobs.
        snapshots: Tells which blobs a snapshot needs.
        tenant: Whose; None for all.
        clock: Tells how old a snapshot is.
        keep: Which snapshots are kept.
        grace: Seconds after which a blob may go that was put and never referred to; two hours at least.
        dry_run: Whether to remove nothing.
        progress: Is told how far it is.

    Raises:
        UsageError: the grace is too short.
        SandboxError: a snapshot is of a store that is not known here, or cannot be read; nothing was removed.
        Corrupt: an event's content is lost; nothing was removed.
        StorageError: the store refused; what was removed until then is gone, the next collection does the rest.
    """
    if grace * 1e6 < 2 * REFRESH:
        raise UsageError("a grace below two hours would endanger what is being written: name a longer one")
    # Fixed before anything is read: what is put or touched from here on is safe, however long the reading takes.
    before = await journal.blobs.now() - round(grace * 1e6)
    tenants = await journal.blobs.tenants() if tenant is None else [tenant]
    survey = Survey(journal, progress or _silent)
    await survey.read_letters(tenants, tidy=not dry_run)
    await survey.read_log(tenant)
    kept, gone = survey.sorted_out(keep or Retention(), clock.now())
    await survey.follow(kept, snapshots)
    swept = await survey.sweep(tenants, before, dry_run=dry_run)
    if not dry_run:
        held = {(whose, ref.store, ref.manifest) for whose, ref in kept}
        for whose, ref in gone:
            keeper = snapshots(whose).get(ref.store)
            if keeper is not None and (whose, ref.store, ref.manifest) not in held:
                await keeper.drop(ref)
    return Collected(swept.kept, swept.removed, swept.bytes, len(kept), len(gone))


class _Taken(NamedTuple):
    """A snapshot, where it stands in its stream."""

    seq: int
    at: int
    ref: SnapshotRef


_Snapshots = dict[tuple[TenantId, SnapshotRef], None]


class _Session:
    __slots__ = ("needed", "taken")

    def __init__(self) -> None:
        self.taken: dict[bool, list[_Taken]] = {True: [], False: []}
        """Of whole trees, and of single paths, in order."""
        self.needed: dict[str, tuple[SnapshotRef, ...]] = {}
        """What is under way, a call or a change of files, and what would have to be put back for it."""


class Survey:
    """What the log needs, as far as it was read."""

    def __init__(self, journal: Journal, progress: Collecting) -> None:
        self._journal = journal
        self._progress = progress
        self._marks: defaultdict[TenantId, Marks] = defaultdict(Marks)
        self._sessions: defaultdict[StreamId, _Session] = defaultdict(_Session)
        self._parents: dict[StreamId, tuple[StreamId, int]] = {}
        self._letters: _Snapshots = {}
        """What unread letters bring along."""
        self._events = 0
        """How many there are to read, about."""
        self.position = 0
        """Of the feed, how far the log was read."""

    async def read_letters(self, tenants: list[TenantId], *, tidy: bool = False) -> None:
        """Marks what unread letters refer to, and what tools keep, and learns of the forks; on the way it may empty
        letters that were read.
        """
        for tenant in tenants:
            after = ""
            while heads := await self._journal.heads(tenant, after=after, limit=_PAGE):
                after = heads[-1].stream
                if tidy and (read := [head.stream for head in heads if head.inbox_taken]):
                    await self._journal.drop_taken(read)
                for head in heads:
                    await self._look_at(head)
            for digest in await open_values(self._journal, SystemClock()).digests(tenant):
                self._marks[tenant].add(digest)

    async def _look_at(self, head: Head) -> None:
        self._events += head.seq - head.parent_seq
        if head.parent is not None:
            self._parents[head.stream] = head.parent, head.parent_seq
        if head.unread:
            for mail in await self._journal.mail(head.stream, head.inbox_taken):
                found = references_in(mail.body)
                self._mark(head.stream, found.digests)
                self._letters.update(dict.fromkeys((tenant_of(head.stream), ref) for ref in found.snapshots))

    async def read_log(self, tenant: TenantId | None) -> None:
        """Marks what the log refers to; snapshots are sorted out later."""
        after = done = 0
        while items := await self._journal.feed(after=after, tenant=tenant, limit=_PAGE):
            self.position = after = items[-1].position
            done += len(items)
            for item in items:
                await self._read(item)
            self._progress("reading", done, max(done, self._events))

    async def _read(self, item: FeedItem) -> None:
        record = item.record
        if record.blob is not None:
            self._marks[tenant_of(item.stream)].add(record.blob)
        elif not may_refer(record.body) and not (record.type in _CLOSING and item.stream in self._sessions):
            return
        event = await decode_record(record, item.stream, CODEC, self._journal)
        found = references(event)
        self._mark(item.stream, found.digests)
        if found.snapshots:
            taken = self._sessions[item.stream].taken
            for ref in found.snapshots:
                taken[ref.whole].append(_Taken(event.seq, event.at, ref))
        if item.stream in self._sessions:
            _follow_up(self._sessions[item.stream].needed, event)

    def _mark(self, stream: StreamId, digests: tuple[Digest, ...]) -> None:
        marks = self._marks[tenant_of(stream)]
        for digest in digests:
            marks.add(digest)

    def sorted_out(self, keep: Retention, now: int) -> tuple[_Snapshots, _Snapshots]:
        """Returns the snapshots that are kept, and those that are let go."""
        since = now - round(keep.days * 86_400e6)
        every: _Snapshots = {}
        kept = dict(self._letters)
        for stream in list(self._sessions):
            whose, session = tenant_of(stream), self._sessions[stream]
            for taken in (*session.taken[True], *session.taken[False]):
                every[whose, taken.ref] = None
                if taken.at >= since:
                    kept[whose, taken.ref] = None
            kept.update(dict.fromkeys((whose, ref) for refs in session.needed.values() for ref in refs))
        for stream in {*self._sessions, *self._parents}:
            for whole in (True, False):
                newest = self._newest(stream, whole, keep.snapshots)
                kept.update(dict.fromkeys((tenant_of(stream), ref) for ref in newest))
        return kept, {each: None for each in every if each not in kept}

    def named(self, but: Collection[SnapshotRef] = (), of: Collection[StreamId] = ()) -> _Snapshots:
        """Returns every snapshot the log names, except for some where only some streams name them."""
        taken = (
            (stream, each.ref)
            for stream, session in self._sessions.items()
            for each in (*session.taken[True], *session.taken[False])
        )
        return self._letters | {(tenant_of(s), ref): None for s, ref in taken if s not in of or ref not in but}

    def marks(self, tenant: TenantId) -> Marks:
        """Returns which of a tenant's blobs are needed, as far as was read and followed."""
        return self._marks[tenant]

    def _newest(self, stream: StreamId, whole: bool, count: int) -> Iterator[SnapshotRef]:
        """Yields a session's newest snapshots, those it shares with its ancestors too."""
        line: StreamId | None = stream
        up_to = 1 << 62
        while line is not None and count > 0:
            if (session := self._sessions.get(line)) is not None:
                taken = session.taken[whole]
                end = bisect_right(taken, up_to, key=lambda each: each.seq)
                for each in taken[max(0, end - count) : end]:
                    yield each.ref
                count -= min(count, end)
            line, shared = self._parents.get(line, (None, 0))
            up_to = min(up_to, shared)

    async def follow(self, kept: _Snapshots, snapshots: Keepers) -> None:
        """Marks what the snapshots need that are kept."""
        for number, (tenant, ref) in enumerate(kept, 1):
            keeper = snapshots(tenant).get(ref.store)
            if keeper is None:
                raise SandboxError(
                    f"the log refers to a snapshot of the store {ref.store!r}, which this process has not got, so "
                    "nobody can tell what it needs: collect where that store is, or with a newer Holdfast"
                )
            await self._follow(tenant, ref, keeper)
            self._progress("following", number, len(kept))

    async def _follow(self, tenant: TenantId, ref: SnapshotRef, keeper: Keeper) -> None:
        marks = self._marks[tenant]
        if not await self._journal.blobs.has(tenant, ref.manifest):
            return  # let go earlier, when fewer were kept
        marks.add(ref.manifest)
        try:
            async for digest in keeper.digests(ref):
                marks.add(digest)
        except SandboxError as error:
            # One whose blobs are gone is lost already. One that cannot be read may be whole, and of a newer version.
            if not isinstance(error.__context__, KeyError):
                raise

    async def sweep(self, tenants: list[TenantId], before: int, *, dry_run: bool) -> Swept:
        """Removes what is not marked."""
        blobs = self._journal.blobs
        usage = {tenant: (await blobs.usage(tenant)).blobs for tenant in tenants}
        total = sum(usage.values())
        done = Swept()
        for tenant in tenants:

            def tell(swept: Swept, so_far: Swept = done) -> None:
                passed = so_far.kept + so_far.removed + swept.kept + swept.removed
                self._progress("removing", passed, max(passed, total))

            marks = self._marks[tenant]
            swept = await blobs.collect(tenant, marks, before=before, dry_run=dry_run, progress=tell)
            done = Swept(done.kept + swept.kept, done.removed + swept.removed, done.bytes + swept.bytes)
        return done


def _follow_up(needed: dict[str, tuple[SnapshotRef, ...]], event: Event) -> None:
    """Keeps track of what a crash of this moment would want to put back."""
    match event.data:
        case ToolStarted(snapshot=SnapshotRef() as snapshot) as started:
            needed[started.call_id] = (snapshot,)
        case ToolFinished() as finished:
            needed.pop(finished.call_id, None)
        case Forked() | Rewound() as moved:
            needed.clear()
            needed[_FILES] = moved.files
        case FilesRestored():
            needed.pop(_FILES, None)
        case RunFinished():
            needed.clear()
        case _:
            pass


def _silent(_phase: Phase, _done: int, _total: int) -> None:
    pass
