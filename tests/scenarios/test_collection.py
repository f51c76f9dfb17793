"""Collections: what the log needs stays, what it does not goes, and nothing that runs has to stop for it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.collecting import DAY, LOCAL, Store, finished, started, used

from holdfast.engine.events import CODEC, FilesRestored, Forked, Rewound, RunFinished
from holdfast.errors import Corrupt, SandboxError, UsageError
from holdfast.flow.ids import new_batch
from holdfast.journal.owning import to_record
from holdfast.journal.port import Record
from holdfast.journal.stores.memory import MemoryJournal
from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.runtime.agent import Agent
from holdfast.runtime.history.collecting import collect, portable
from holdfast.runtime.history.reports import Collected, Phase, Retention
from holdfast.runtime.runtime import Runtime
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.testing.clock import FakeClock
from holdfast.types import BatchId, Digest, Event, EventId, SnapshotRef, StreamId, TenantId, WorkerId

S = StreamId("local/s")
OTHER = TenantId("other")


@asynccontextmanager
async def opened(kind: str) -> AsyncGenerator[tuple[Store, FakeClock]]:
    clock = FakeClock()
    with tempfile.TemporaryDirectory() as folder:
        sqlite = kind == "sqlite"
        journal = await SqliteJournal.open(Path(folder) / "j.db", clock=clock) if sqlite else MemoryJournal(clock)
        try:
            yield Store(journal, clock), clock
        finally:
            await journal.close()


@pytest.fixture(params=["memory", "sqlite"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Store, FakeClock]]:
    async with opened(request.param) as made:
        yield made


Place = tuple[Store, FakeClock]


@pytest.mark.requirement("storage:blobs-collected")
async def test_whatever_the_log_refers_to_stays_and_the_rest_goes(place: Place) -> None:
    store, clock = place
    blobs = store.journal.blobs
    spec, output, mentioned, unread, nobodys = await blobs.put_many(LOCAL, [b"spec", b"out", b"said", b"mail", b"no"])
    theirs = await blobs.put(OTHER, b"spec")
    tree = await store.trees().take(b"a", b"b")
    long = f"blob:{await blobs.put(LOCAL, b'deep')} " + "x" * 40_000
    await store.write(S, used(spec), started("c", tree), finished("c", f"read blob:{mentioned}", output))
    await store.write(S, started("d"), finished("d", long))
    await store.say(StreamId("local/new"), unread, "k")
    await clock.advance(2 * DAY)
    done = await store.collect()
    assert (done.removed, done.snapshots_kept) == (2, 1)
    assert not await blobs.touch(LOCAL, [spec, output, mentioned, unread])
    assert await store.trees().whole(tree)
    assert await blobs.has(LOCAL, Digest(long[5:76])), "what stands in content that is a blob itself counts"
    assert not await blobs.has(LOCAL, nobodys)
    assert not await blobs.has(OTHER, theirs), "another tenant's log refers to nothing"
    assert len(await store.journal.read(S)) == 5
    assert (await store.collect()).removed == 0


@pytest.mark.requirement("storage:blobs-collected")
async def test_one_tenants_collection_leaves_the_others_alone(place: Place) -> None:
    store, clock = place
    blobs = store.journal.blobs
    mine, theirs = await blobs.put(LOCAL, b"x"), await blobs.put(OTHER, b"x")
    await clock.advance(2 * DAY)
    assert (await store.collect(tenant=LOCAL)).removed == 1
    assert not await blobs.has(LOCAL, mine)
    assert await blobs.has(OTHER, theirs)


@pytest.mark.requirement("runtime:snapshots-retained")
async def test_the_newest_snapshots_and_the_young_ones_are_kept(place: Place) -> None:
    store, clock = place
    trees: list[SnapshotRef] = []
    for day in range(8):
        for kind in ((), ("p",)):
            trees.append(await store.trees().take(b"day %d" % day, b"always", paths=kind))
            await store.write(S, started(f"c{day}{kind}", trees[-1]), finished(f"c{day}{kind}"))
        await clock.advance(DAY)
    done = await store.collect(keep=Retention(snapshots=3, days=1))
    assert (done.snapshots_kept, done.snapshots_let_go) == (6, 10)
    assert [await store.trees().whole(tree) for tree in trees] == [False] * 10 + [True] * 6
    assert sorted(store.trees().dropped, key=trees.index) == trees[:10], "the store hears of what is let go"
    assert (await store.collect(keep=Retention(snapshots=0, days=2.5))).snapshots_kept == 4
    assert [await store.trees().whole(tree) for tree in trees[-6:]] == [False] * 2 + [True] * 4
    again = await store.collect(keep=Retention(snapshots=100, days=100))
    assert again.removed == 0, "to keep more than is there breaks nothing"
    with pytest.raises(UsageError, match="counts from 0"):
        Retention(snapshots=-1)


@pytest.mark.requirement("runtime:snapshots-retained")
async def test_what_is_under_way_keeps_its_snapshot_however_old(place: Place) -> None:
    store, clock = place
    nothing = Retention(snapshots=0, days=0)
    trees = [await store.trees().take(b"%d" % number) for number in range(4)]
    call, closed, fork, rewound = trees
    await store.write(S, started("open", call), started("shut", closed), finished("shut"))
    await store.write(StreamId("local/f"), Forked("local/s", 1, "/w", (fork,)))
    await store.write(StreamId("local/r"), Rewound(1, (rewound,)))
    await clock.advance(400 * DAY)
    await store.collect(keep=nothing)
    assert [await store.trees().whole(tree) for tree in trees] == [True, False, True, True]
    await store.write(S, finished("open"))
    await store.write(StreamId("local/f"), FilesRestored())
    await store.write(StreamId("local/r"), RunFinished("completed"))
    await clock.advance(2 * DAY)
    await store.collect(keep=nothing)
    assert [await store.trees().whole(tree) for tree in trees] == [False] * 4


@pytest.mark.requirement("runtime:snapshots-retained")
async def test_a_fork_counts_its_parents_snapshots_from_where_it_left(place: Place) -> None:
    store, clock = place
    trees = [await store.trees().take(b"%d" % number) for number in range(10)]
    for number, tree in enumerate(trees):
        await store.write(S, started(f"c{number}", tree), finished(f"c{number}"))
    for child, parent, at in (("local/f", S, 8), ("local/g", StreamId("local/f"), 8)):
        event = Event(seq=at + 1, id=EventId("f"), type=Forked.type, at=0, epoch=0, data=Forked(parent, at))
        await store.journal.fork(parent, at, StreamId(child), BatchId("b"), [to_record(event, CODEC)])
    own = await store.trees().take(b"own")
    await store.write(StreamId("local/g"), started("own", own), finished("own"))
    await clock.advance(2 * DAY)
    await store.collect(keep=Retention(snapshots=3, days=0))
    assert await store.trees().whole(own)
    kept = [await store.trees().whole(tree) for tree in trees]
    # f shares the first four and keeps three of them, g keeps its own and two, s its last three.
    assert kept == [False, True, True, True, False, False, False, True, True, True]


@pytest.mark.requirement("runtime:collect-refuses-to-guess")
async def test_a_snapshot_nobody_here_understands_stops_the_collection_before_it_removes_anything(place: Place) -> None:
    store, clock = place
    manifest, needless = await store.journal.blobs.put_many(LOCAL, [b"[]", b"needless"])
    await store.write(S, started("c", SnapshotRef("btrfs", manifest, whole=True)), finished("c"))
    await clock.advance(2 * DAY)
    with pytest.raises(SandboxError, match=r"'btrfs'.*collect where that store is"):
        await store.collect()
    assert await store.journal.blobs.has(LOCAL, needless)


@pytest.mark.requirement("runtime:collect-refuses-to-guess")
async def test_events_of_a_newer_version_keep_what_they_refer_to(place: Place) -> None:
    store, clock = place
    tree = await store.trees().take(b"newer")
    plain, _ = await store.journal.blobs.put_many(LOCAL, [b"plain", b"needless"])
    data = msgspec.json.encode({"much": [{"later": plain}], "files": tree})
    body = b'{"seq":1,"id":"e","type":"x.later","at":0,"epoch":1,"data":%s}' % data
    claim = await store.journal.claim(S, WorkerId("w"), 1)
    await store.journal.append(S, claim.head.epoch, 0, new_batch(), [Record(1, "x.later", body)])
    await clock.advance(2 * DAY)
    assert (await store.collect()).removed == 1
    assert await store.journal.blobs.has(LOCAL, plain)
    assert await store.trees().whole(tree)


@pytest.mark.requirement("runtime:collect-refuses-to-guess")
async def test_an_event_whose_content_is_lost_stops_the_collection(place: Place) -> None:
    store, clock = place
    needless = await store.journal.blobs.put(LOCAL, b"needless")
    claim = await store.journal.claim(S, WorkerId("w"), 1)
    lost = Record(1, "x.y", b"{}", Digest("sha256:" + "0" * 64))
    await store.journal.append(S, claim.head.epoch, 0, new_batch(), [lost])
    await clock.advance(2 * DAY)
    with pytest.raises(Corrupt, match="record 1"):
        await store.collect()
    assert await store.journal.blobs.has(LOCAL, needless)


async def test_a_rehearsal_removes_nothing_and_progress_is_told(place: Place) -> None:
    store, clock = place
    spec, _ = await store.journal.blobs.put_many(LOCAL, [b"spec", b"nobody's"])
    tree = await store.trees().take(b"t")
    await store.write(S, used(spec), started("c", tree), finished("c"))
    await clock.advance(2 * DAY)
    told: list[tuple[Phase, int, int]] = []

    async def run(*, dry_run: bool) -> Collected:
        def tell(phase: Phase, done: int, total: int) -> None:
            told.append((phase, done, total))

        return await collect(store.journal, store.keepers, tenant=None, clock=clock, dry_run=dry_run, progress=tell)

    rehearsed = await run(dry_run=True)
    assert (rehearsed.kept, rehearsed.removed, rehearsed.bytes) == (3, 1, 8)
    assert await run(dry_run=False) == rehearsed
    assert ("reading", 3, 3) in told
    assert ("following", 1, 1) in told
    with pytest.raises(UsageError, match="below two hours"):
        await collect(store.journal, store.keepers, tenant=None, clock=clock, grace=3600)


@pytest.mark.requirement("storage:blobs-collected-while-written")
async def test_writing_and_collecting_at_once_never_takes_what_was_just_put_again(place: Place) -> None:
    store, clock = place
    contents = [b"content %d" % number for number in range(400)]
    await store.journal.blobs.put_many(LOCAL, contents)
    await clock.advance(3 * DAY)

    async def write(name: str, numbers: range) -> list[tuple[bytes, Digest]]:
        written: list[tuple[bytes, Digest]] = []
        for number in numbers:
            digest = await store.journal.blobs.put(LOCAL, contents[number])
            await store.write(StreamId(f"local/{name}{number}"), used(digest))
            written.append((contents[number], digest))
        return written

    *written, one, two = await asyncio.gather(
        write("a", range(0, 60)), write("b", range(399, 339, -1)), store.collect(), store.collect()
    )
    for content, digest in (each for some in written for each in some):
        assert await store.journal.blobs.get(LOCAL, digest) == content
    assert one.removed + two.removed <= 400
    await clock.advance(3 * DAY)
    await store.collect()
    assert (await store.journal.blobs.usage(LOCAL)).blobs == 120, "what is referred to, and no more"


@pytest.mark.requirement("runtime:snapshot-let-go-said")
async def test_files_that_are_no_longer_kept_are_said_to_be_and_those_that_are_come_back(
    place: Place, tmp_path: Path
) -> None:
    store, clock = place
    workspace = Workspace(tmp_path)
    trees = TreeSnapshots(store.journal.blobs, LOCAL)
    refs: list[SnapshotRef] = []
    for words in ("old", "new", "newest"):
        (tmp_path / "sub").mkdir(exist_ok=True)
        (tmp_path / "sub" / "file").write_text(words)
        refs.append(await trees.capture(workspace))
        await store.write(S, started(words, refs[-1]), finished(words))
    await clock.advance(2 * DAY)
    stores = portable(store.journal.blobs)
    done = await collect(store.journal, stores, tenant=LOCAL, clock=clock, keep=Retention(snapshots=2, days=1))
    assert (done.snapshots_kept, done.snapshots_let_go) == (2, 1)
    with pytest.raises(SandboxError, match="The files of that moment are no longer kept; go back to a newer event"):
        await trees.restore(workspace, refs[0])
    assert (tmp_path / "sub" / "file").read_text() == "newest", "nothing was touched"
    await trees.restore(workspace, refs[1])
    assert (tmp_path / "sub" / "file").read_text() == "new"


@pytest.mark.requirement("storage:blobs-collected-while-written")
async def test_an_agent_that_a_process_knows_for_days_is_put_again_before_it_is_referred_to(place: Place) -> None:
    store, clock = place
    binder = Runtime(store.journal, clock)._bindings
    agent = Agent("openai/scripted")
    await binder.remember(LOCAL, agent)
    assert binder.knows(LOCAL, agent)
    await clock.advance(2 * DAY)
    assert (await store.collect()).removed == 1, "no prompt of it was ever accepted"
    assert not binder.knows(LOCAL, agent), "so that whoever starts a run remembers it again"
    await binder.remember(LOCAL, agent)
    assert binder.knows(LOCAL, agent)
    assert await store.journal.blobs.has(LOCAL, agent.digest)
    await binder.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 7)),
        st.tuples(st.just("refer"), st.integers(0, 7)),
        st.tuples(st.just("post"), st.integers(0, 7)),
        st.tuples(st.just("tree"), st.integers(0, 7)),
        st.tuples(st.just("fork"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.sampled_from([0.3, 5, 26, 24 * 40])),
        st.tuples(st.just("collect"), st.just(0)),
    ),
    max_size=40,
)


class History:
    """A log that grows at random, and what it must be able to read."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.streams = [S]
        self.needed: dict[Digest, bytes] = {}
        self.trees: list[tuple[int, SnapshotRef]] = []
        self.busy: list[asyncio.Task[Collected]] = []
        self.count = 0

    async def step(self, what: str, number: float) -> None:
        self.count += 1
        stream = self.streams[int(number) % len(self.streams)]
        content = b"content %d" % number
        blobs = self.store.journal.blobs
        if what == "wait":
            await self.clock.advance(number * 3600)
        elif what == "collect":
            self.busy.append(asyncio.create_task(self.store.collect(keep=Retention(snapshots=1, days=30))))
            await asyncio.sleep(0)
        elif what == "fork":
            head = await self.store.journal.head(stream)
            if head is not None and head.seq:
                child = StreamId(f"local/f{self.count}")
                await self.store.journal.fork(stream, head.seq, child, BatchId("b"), [])
                self.streams.append(child)
        elif what == "tree":
            tree = await self.store.trees().take(content, b"shared")
            self.trees.append((self.clock.now(), tree))
            await self.store.write(stream, started(f"c{self.count}", tree), finished(f"c{self.count}"))
        else:
            digest = await blobs.put(LOCAL, content)
            if what != "put":
                self.needed[digest] = content
                if what == "post":
                    await self.store.say(stream, digest, f"k{self.count}")
                else:
                    await self.store.write(stream, used(digest))

    async def idle(self) -> None:
        await asyncio.gather(*self.busy)
        self.busy.clear()

    async def check(self) -> None:
        await self.idle()
        for digest, content in self.needed.items():
            assert await self.store.journal.blobs.get(LOCAL, digest) == content
        for at, tree in self.trees:
            assert at < self.clock.now() - 30 * DAY * 1_000_000 or await self.store.trees().whole(tree)


@pytest.mark.requirement("storage:blobs-collected", "storage:blobs-collected-while-written")
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_no_reference_ever_dangles_and_in_the_end_nothing_needless_is_left(kind: str) -> None:
    @settings(max_examples=60 if kind == "memory" else 20, deadline=None)
    @given(STEPS)
    def run(steps: list[tuple[str, float]]) -> None:
        asyncio.run(play(steps))

    async def play(steps: list[tuple[str, float]]) -> None:
        async with opened(kind) as (store, clock):
            history = History(store, clock)
            for step in steps:
                await history.step(*step)
            await history.check()
            await clock.advance(100 * DAY)
            await store.collect(keep=Retention(snapshots=0, days=0))
            await history.check()
            left = (await store.journal.blobs.usage(LOCAL)).blobs
            assert left == len(history.needed), "nothing but what is referred to is left"

    run()
