"""Deleting sessions, and taking what was said out of one: so that it is in no file of the store any more.

What tools kept with the scope `session` goes with the session; what they kept for its user or agent stays.

Who erases owns the session meanwhile, and no run of it is open. First the log is changed, in one transaction, then
what only that part of the log named goes out of the blobs. Who is killed between the two leaves blobs that nothing
names, which the next collection removes.

A blob is removed at once where nothing names it and nobody works in the tenant's sessions, who might have put the
same bytes just now; the content of events is, in any case. The spec of an agent stays: processes that know the agent
rely on it for some hours. What stays for such a reason is counted in `left`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import final

import msgspec

from holdfast.engine.events import CODEC, InputReceived, ProcessStarted, RunStarted
from holdfast.engine.keeping.references import references
from holdfast.errors import Corrupt, JournalError, SandboxError, StorageDamaged, UnknownSession, UsageError
from holdfast.flow.clock import Clock
from holdfast.journal.owning import to_record
from holdfast.journal.port import Claim, Head, Journal, Record
from holdfast.journal.reading import decode_record
from holdfast.ledger.port import Ledger
from holdfast.runtime.history.collecting import Keepers, Survey
from holdfast.runtime.history.reports import Deleted, Refused, ScrubReport
from holdfast.runtime.history.scrubbing import Scrub, spellings
from holdfast.runtime.lanes.counting import session_account
from holdfast.runtime.opening import open_values
from holdfast.tools.keeping.kept import places_of_session
from holdfast.types import Digest, Event, SnapshotRef, StreamId, TenantId, session_of, tenant_of

__all__ = ("Erasing",)

_PAGE = 1000
_DAY = 86_400e6

Then = Callable[[StreamId], Awaitable[object]]


class _Named:
    """What events name beside themselves."""

    def __init__(self) -> None:
        self.contents: set[Digest] = set()
        """Of events: they come into a store with the record that names them."""
        self.digests: set[Digest] = set()
        self.specs: set[Digest] = set()
        self.snapshots: dict[SnapshotRef, None] = {}
        self.starts = False
        """Whether a process was started."""
        self.users: set[str] = set()
        """Whose runs these are."""
        self.erased = False
        """Whether a session that named some of it is gone, or may be: somebody was cancelled at that moment."""

    def take(self, other: _Named) -> None:
        """Takes in what others name."""
        self.erased = True
        self.contents |= other.contents
        self.digests |= other.digests
        self.specs |= other.specs
        self.snapshots |= other.snapshots

    def add(self, record: Record, event: Event | None) -> None:
        """Takes in what an event names; of one that cannot be read, its content."""
        if record.blob is not None:
            self.contents.add(record.blob)
        self.starts = self.starts or record.type == ProcessStarted.type
        if event is None:
            return
        found = references(event)
        self.digests.update(found.digests)
        self.snapshots.update(dict.fromkeys(found.snapshots))
        if isinstance(event.data, InputReceived | RunStarted) and event.data.setup is not None:
            self.specs.add(event.data.setup.spec)
            self.users.add(event.data.setup.user)


@final
class Erasing:
    """Erases in the sessions of one store."""

    def __init__(
        self,
        journal: Journal,
        keepers: Keepers,
        clock: Clock,
        claim: Callable[[StreamId], Awaitable[Claim]],
        end_processes: Callable[[StreamId], Awaitable[None]],
        ledger: Ledger,
    ) -> None:
        """`end_processes` is asked to end what a session that is deleted has started."""
        self._values = open_values(journal, clock)
        self._journal = journal
        self._keepers = keepers
        self._clock = clock
        self._claim = claim
        self._end_processes = end_processes
        self._ledger = ledger

    async def delete(self, streams: Sequence[StreamId], then: Then | None = None) -> Deleted:
        """Deletes sessions: all of them, or those up to the first that is refused; `then` is told of each that is.

        Raises:
            UsageError: a run is open in one, or somebody spoke to it.
            LeaseHeld: one is being driven.
        """
        named, done = _Named(), Deleted()
        try:
            for stream in streams:
                done = _total(done, await self._delete(stream, named, None))
                if then is not None:
                    await then(stream)
        finally:
            done = await self._finish(done, named, streams)
        return done

    async def delete_some(self, streams: Sequence[StreamId], then: Then | None = None) -> Deleted:
        """Deletes those of some sessions that are not refused; `then` is told of each that is."""
        heads = [head for each in streams if (head := await self._journal.head(each)) is not None]
        return await self._delete_heads(heads, then, whole=False)

    async def delete_idle(self, tenant: TenantId, days: float, *, dry_run: bool = False) -> Deleted:
        """Deletes a tenant's sessions in which nothing happened for so many days, and no run is open; one that was
        forked only along with its forks. What is refused is passed over, with what it was forked from.
        """
        before = self._clock.now() - round(days * _DAY)
        heads = await self._idle(tenant, before)
        if dry_run:
            return Deleted(tuple(session_of(head.stream) for head in heads))
        return await self._delete_heads(heads, None, whole=True)

    async def _delete_heads(self, heads: Sequence[Head], then: Then | None, *, whole: bool) -> Deleted:
        """Deletes sessions as they were seen, `whole` only where nothing happened since and no fork stays."""
        named, done, kept = _Named(), Deleted(), set[StreamId]()
        try:
            for head in heads:
                try:
                    if head.stream in kept:
                        raise UsageError("a session that was forked from it stays")
                    done = _total(done, await self._delete(head.stream, named, head if whole else None))
                    if then is not None:
                        await then(head.stream)
                except UnknownSession:
                    continue  # somebody else was quicker
                except (UsageError, JournalError, SandboxError) as error:
                    done = _total(done, Deleted(refused=(Refused(session_of(head.stream), str(error)),)))
                    if whole and head.parent is not None:
                        kept.add(head.parent)
        finally:
            done = await self._finish(done, named, [head.stream for head in heads])
        return done

    async def _finish(self, done: Deleted, named: _Named, streams: Sequence[StreamId]) -> Deleted:
        """Lets go of what the sessions named that were deleted, also where the caller was cancelled or met an error."""
        if not named.erased:
            return done
        removed, left = await asyncio.shield(self._let_go(tenant_of(streams[0]), named))
        return msgspec.structs.replace(done, blobs=len(removed), left=len(left))

    async def _idle(self, tenant: TenantId, before: int) -> list[Head]:
        """Returns what may go, forks before what they were forked from."""
        heads: list[Head] = []
        while page := await self._journal.heads(tenant, after=heads[-1].stream if heads else "", limit=_PAGE):
            heads += page
        by_name = {head.stream: head for head in heads}
        kept = {head.stream for head in heads if head.updated_at >= before or not _is_over(head)}
        for name in list(kept):
            above = by_name[name].parent
            while above is not None and above in by_name and above not in kept:
                kept.add(above)
                above = by_name[above].parent
        idle = [head for head in heads if head.stream not in kept]
        return sorted(idle, key=lambda head: (-head.created_at, head.parent is None, head.stream))

    async def _delete(self, stream: StreamId, named: _Named, seen: Head | None) -> Deleted:
        head = await self._own(stream)
        try:
            if seen is not None and (head.seq, head.inbox_seq) != (seen.seq, seen.inbox_seq):
                raise UsageError(f"session {session_of(stream)!r} is in use")
            found = await self._names_in(stream, head)
            if found.starts:
                await self._end_processes(stream)
            for user in sorted(found.users):  # while the name is the session's: its next owner has these accounts
                await self._ledger.reset(session_account(stream, user))
            # The same of what tools kept for the session alone. Whoever is killed before the log goes finds the session
            # there still, and deletes it again: then there is nothing left to clear.
            for place in places_of_session(tenant_of(stream), session_of(stream)):
                found.digests |= await self._values.clear(place)
            named.take(found)
            shared = await self._journal.delete(stream, head.epoch)
        except BaseException:  # a cancelled caller's, too
            await asyncio.shield(self._journal.release(stream, head.epoch))
            raise
        return Deleted((session_of(stream),), head.seq - head.parent_seq - shared, shared)

    async def scrub(self, stream: StreamId, seqs: Collection[int], words: str | None, by: str) -> ScrubReport:
        """Takes the content out of events, or some words out of all of them.

        Raises:
            UsageError: there is no such event, of one nobody knows what is content, or a run is open.
            LeaseHeld: the session is being driven.
        """
        head = await self._own(stream)
        named, old, new = _Named(), list[tuple[Record, Event]](), list[Event]()
        holding = _Holding((), frozenset())
        try:
            await self._journal.drop_taken([stream])
            await self._read(stream, head, lambda record, event: old.append((record, event)))
            if words is not None:
                holding = await self._search(tenant_of(stream), [event for _, event in old], words)
            scrub = Scrub(self._clock.now(), by, words, holding.stored)
            _check(stream, head, seqs)
            for record, event in old:
                if words is None and event.seq not in seqs:
                    continue
                changed = scrub.apply(event)
                if changed is not event:
                    new.append(changed)
                    named.add(record, event)
            if new:
                await self._journal.scrub(stream, head.epoch, [to_record(event, CODEC) for event in new])
        finally:
            await asyncio.shield(self._journal.release(stream, head.epoch))
        instead = {event.seq: event for event in new}
        told = [instead.get(event.seq, event) for _, event in old]
        named.snapshots.clear()  # they stay named: what goes of them is what holds the words
        named.digests -= {digest for event in told for digest in references(event).digests}
        named.digests |= holding.digests
        line = await self._line(stream)
        removed, _ = await self._let_go(tenant_of(stream), named, but=holding.snapshots, of=line)
        held = named.contents | named.digests | holding.stored
        return ScrubReport(
            tuple(instead),
            len(removed),
            len(holding.snapshots),
            len([1 for each in held - removed if await self._journal.blobs.has(tenant_of(stream), each)]),
            tuple(event.seq for event in told if words is not None and _names(event, words)),
        )

    async def _search(self, tenant: TenantId, events: Sequence[Event], words: str) -> _Holding:
        """Returns which outputs and snapshots that events name hold the words."""
        wanted = [each.encode() for each in spellings(words)]
        seen: dict[Digest, bool] = {}

        async def holds(digest: Digest) -> bool:
            if digest not in seen:
                try:
                    data = await self._journal.blobs.get(tenant, digest)
                except KeyError:
                    data = b""
                seen[digest] = any(each in data for each in wanted)
            return seen[digest]

        stored: set[Digest] = set()
        snapshots: dict[SnapshotRef, None] = {}
        found: set[Digest] = set()
        for event in events:
            named = references(event)
            stored |= {digest for digest in named.digests if await holds(digest)}
            for ref in named.snapshots:
                if ref in snapshots or (keeper := self._keepers(tenant).get(ref.store)) is None:
                    continue
                with suppress(SandboxError):  # it was let go
                    inside = {digest async for digest in keeper.digests(ref) if await holds(digest)}
                    if inside:
                        found |= inside | {ref.manifest}
                        snapshots[ref] = None
        return _Holding(tuple(snapshots), frozenset(stored), frozenset(found))

    async def _own(self, stream: StreamId) -> Head:
        if await self._journal.head(stream) is None:
            raise UnknownSession(f"there is no session {session_of(stream)!r} in this store")
        head = (await self._claim(stream)).head
        if not _is_over(head):
            await self._journal.release(stream, head.epoch)
            name = session_of(stream)
            raise UsageError(
                f"a run is open in session {name!r}, or about to be: end it first, with `holdfast runs abort {name}` "
                f"and `holdfast runs resume {name}`"
            )
        return head

    async def _read(self, stream: StreamId, head: Head, see: Callable[[Record, Event], object]) -> None:
        async for record in self._records(stream, head):
            see(record, await decode_record(record, stream, CODEC, self._journal))

    async def _names_in(self, stream: StreamId, head: Head) -> _Named:
        """Returns what a session names, as far as its events can be read; the rest a collection finds."""
        found = _Named()
        async for record in self._records(stream, head):
            try:
                found.add(record, await decode_record(record, stream, CODEC, self._journal))
            except Corrupt:
                found.add(record, None)
        return found

    async def _records(self, stream: StreamId, head: Head) -> AsyncIterator[Record]:
        after = 0
        while after < head.seq:
            for record in await self._journal.read(stream, after=after, limit=_PAGE):
                yield record
                after = record.seq

    async def _line(self, stream: StreamId) -> set[StreamId]:
        """Returns a stream and those whose records it shares."""
        line: set[StreamId] = set()
        name: StreamId | None = stream
        while name is not None and (head := await self._journal.head(name)) is not None:
            line.add(name)
            name = head.parent
        return line

    async def _let_go(
        self,
        tenant: TenantId,
        named: _Named,
        *,
        but: Collection[SnapshotRef] = (),
        of: Collection[StreamId] = (),
    ) -> tuple[set[Digest], set[Digest]]:
        """Removes what only the erased part of the log named; returns what was removed, and what of it stays."""
        candidates = named.digests | named.contents
        for ref in named.snapshots:
            if (keeper := self._keepers(tenant).get(ref.store)) is not None:
                with suppress(SandboxError, StorageDamaged):  # it was let go, or is lost
                    candidates |= {digest async for digest in keeper.digests(ref)}
        free, removed = candidates, set[Digest]()
        try:
            if candidates:
                survey = Survey(self._journal, lambda _phase, _done, _total: None)
                # Where nobody knows what is needed, that is the collection's to say.
                with suppress(SandboxError, Corrupt, StorageDamaged):
                    await survey.read_letters([tenant])
                    await survey.read_log(tenant)
                    await survey.follow(survey.named(but, of), self._keepers)
                    free = {digest for digest in candidates if digest not in survey.marks(tenant)}
                    discard, at = self._journal.discard, survey.position
                    removed = await discard(tenant, free & named.contents, at, busy=True)
                    removed |= await discard(tenant, free - named.contents - named.specs, at)
        finally:
            await self._journal.erase()
        return removed, {each for each in free - removed if await self._journal.blobs.has(tenant, each)}


class _Holding(msgspec.Struct, frozen=True):
    """What holds the words that have to go."""

    snapshots: tuple[SnapshotRef, ...]
    stored: frozenset[Digest]
    digests: frozenset[Digest] = frozenset()
    """Of snapshots, with their manifests."""


def _is_over(head: Head) -> bool:
    return head.state in ("idle", "ended") and not head.unread


def _check(stream: StreamId, head: Head, seqs: Collection[int]) -> None:
    wrong = [seq for seq in seqs if not 1 <= seq <= head.seq]
    if wrong:
        raise UsageError(f"session {session_of(stream)!r} has no event {wrong[0]}: name one from 1 to {head.seq}")


def _names(event: Event, words: str) -> bool:
    body = CODEC.encode(event)
    return any(each.encode() in body for each in spellings(words))


def _total(one: Deleted, two: Deleted) -> Deleted:
    return Deleted(
        one.sessions + two.sessions,
        one.events + two.events,
        one.shared + two.shared,
        one.blobs + two.blobs,
        one.left + two.left,
        one.refused + two.refused,
    )
