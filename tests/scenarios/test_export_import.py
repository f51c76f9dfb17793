"""A session goes to a file and comes back, here or elsewhere: the same session, and nothing of it begins by itself."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.archives import exported, write_run
from tests.hostile import sealed_again
from tests.running import MODEL, Scene, scene

from holdfast.engine.events import CODEC, Forked
from holdfast.engine.folding import replay
from holdfast.errors import UnknownSession, UsageError
from holdfast.flow.clock import SystemClock
from holdfast.journal.port import Record
from holdfast.journal.reading import read_events
from holdfast.runtime.agent import Agent
from holdfast.runtime.history.exporting import CHUNK, LINE
from holdfast.runtime.runtime import Runtime
from holdfast.testing import Turn
from holdfast.testing.scripts import Call
from holdfast.types import BatchId, StreamId, TenantId, WorkerId, stream_id

S = StreamId("local/s")
WRITE = Turn(calls=[Call(name="write", arguments={"path": "a.txt", "content": "made\n"})])


def events_of(file: bytes) -> list[bytes]:
    lines = file.splitlines()
    return lines[1 : 1 + json.loads(lines[0])["events"]]


async def worked(s: Scene, folder: Path) -> bytes:
    """Lets a run write a file, and returns its session's export."""
    agent = Agent(MODEL, tools=["write"])
    await (await s.runtime.start(agent, "go", session="s", workspace=folder)).result()
    return await exported(s.runtime)


@pytest.mark.requirement("runtime:export-import", "journal:import-export-lines")
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_session_comes_back_in_another_store_with_its_files(tmp_path: Path, kind: str) -> None:
    (tmp_path / "w").mkdir()
    url = "memory:" if kind == "memory" else f"sqlite:///{tmp_path}/other.db"
    async with scene([WRITE, Turn(text="Done.")], url=f"sqlite:///{tmp_path}/one.db") as s:
        file = await worked(s, tmp_path / "w")
        before = replay(await s.log())
        async with Runtime.open(url, tenant="else") as other:
            done = await other.load(io.BytesIO(file), name="t", workspace=tmp_path / "there")
            log = [event async for event in read_events(other.journal, stream_id("else", "t"), CODEC)]
            again = await exported(other, "t")
            head = await other.journal.head(stream_id("else", "t"))
            assert await other.sweep() == 0
    assert (done.session, done.source, done.events, done.files) == ("t", "local/s", len(log) - 2, True)
    assert (tmp_path / "there" / "a.txt").read_text() == "made\n"
    assert events_of(again)[: done.events] == events_of(file)
    after = replay(log)
    assert after.messages == before.messages
    assert after.last is not None
    assert before.last is not None
    assert (after.last.usage, after.last.cost) == (before.last.usage, before.last.cost)
    assert after.workspace == str(tmp_path / "there")
    assert head is not None
    assert (head.state, head.owner, head.unread) == ("idle", None, False)


@pytest.mark.requirement("runtime:import-goes-on")
async def test_an_imported_session_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    async with scene([WRITE, Turn(text="Done."), Turn(text="Still here.")]) as s:
        file = await worked(s, tmp_path / "w")
        await s.runtime.load(io.BytesIO(file), name="t")
        run = await s.runtime.start(Agent(MODEL), "And now?", session="t")
        assert (await run.result()).output == "Still here."
        asked = json.loads(s.server.requests[-1].body)["messages"]
    assert [message["role"] for message in asked] == ["user", "assistant", "tool", "assistant", "user"]


@pytest.mark.requirement("runtime:import-twice-refused")
async def test_an_import_under_a_name_that_is_taken_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    async with scene([WRITE, Turn(text="Done.")]) as s:
        file = await worked(s, tmp_path / "w")
        before = await s.kinds()
        for name in (None, "s"):
            with pytest.raises(UsageError, match="already: import it under another name"):
                await s.runtime.load(io.BytesIO(file), name=name)
        assert await s.kinds() == before
        await s.runtime.load(io.BytesIO(file), name="t")
        with pytest.raises(UsageError, match="already"):
            await s.runtime.load(io.BytesIO(file), name="t")


@pytest.mark.requirement("runtime:import-open-run")
async def test_a_run_that_was_open_stays_where_it_was(tmp_path: Path) -> None:
    agent = Agent(MODEL, tools=["write"])
    (tmp_path / "w").mkdir()
    async with scene([WRITE, Turn(text="Done.")]) as s:
        run = await s.runtime.start(agent, "go", session="s", workspace=tmp_path / "w", mode="ask")
        async for event in run.events():
            if event.type == "tool.waiting":
                break
        file = await exported(s.runtime)
        async with Runtime.open("memory:") as other:
            await other.load(io.BytesIO(file))
            assert await other.journal.due() == []
            assert await other.sweep() == 0
            state = replay([event async for event in read_events(other.journal, S, CODEC)])
        await run.abort()
        await run.result()
    assert state.run is None
    assert state.last is not None
    assert state.last.finished is not None
    assert state.last.finished.status == "aborted"
    assert not state.calls
    assert not state.always
    assert "Not in this branch" in str(state.messages[-1])


@pytest.mark.requirement("runtime:export-fork-whole")
async def test_a_fork_is_exported_with_its_whole_line(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    async with scene([WRITE, Turn(text="Done."), Turn(text="More.")]) as s:
        await worked(s, tmp_path / "w")
        await s.runtime.fork("s", name="f", workspace=tmp_path / "f")
        await (await s.runtime.start(Agent(MODEL), "more", session="f")).result()
        file = await exported(s.runtime, "f")
        log = await s.log("f")
        async with Runtime.open("memory:") as other:
            await other.load(io.BytesIO(file), workspace=tmp_path / "there")
            with pytest.raises(UnknownSession):
                await other.workspace("s")
            told = [event async for event in read_events(other.journal, StreamId("local/f"), CODEC)]
    assert json.loads(file.splitlines()[0])["parent"] == "s"
    assert told[: len(log)] == log
    assert isinstance(told[len(log)].data, Forked)
    assert (tmp_path / "there" / "a.txt").read_text() == "made\n"


@pytest.mark.requirement("runtime:import-own-folder")
async def test_an_import_never_works_in_a_folder_that_the_file_names(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    async with scene([WRITE, Turn(text="Done.")]) as s:
        file = await worked(s, tmp_path / "w")
        (tmp_path / "w" / "a.txt").write_text("mine\n")
        await s.runtime.load(io.BytesIO(file), name="t", workspace=tmp_path / "there")
        await s.runtime.rewind("t", to=2)
        assert (tmp_path / "w" / "a.txt").read_text() == "mine\n"
        assert await s.runtime.workspace("t") == str(tmp_path / "there")
        assert list((tmp_path / "there").iterdir()) == []
        await s.runtime.fork("t", at=2, name="u", workspace=tmp_path / "third")
        assert list((tmp_path / "third").iterdir()) == []
        with pytest.raises(UsageError, match="is no fork that has a folder"):
            await s.runtime.commit("t", dry_run=True)


@pytest.mark.requirement("runtime:export-without-blobs")
async def test_without_blobs_the_events_come_back_and_the_files_do_not(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    long = Turn(text="x" * 100_000)
    async with scene([WRITE, long]) as s:
        await worked(s, tmp_path / "w")
        file = await exported(s.runtime, blobs=False)
        async with Runtime.open("memory:") as other:
            done = await other.load(io.BytesIO(file), workspace=tmp_path / "there")
            state = replay([event async for event in read_events(other.journal, S, CODEC)])
    assert (done.files, done.blobs) == (False, 1), "the content of an event always comes along"
    assert list((tmp_path / "there").iterdir()) == []
    assert "x" * 100_000 in str(state.messages[-1])
    assert max(map(len, file.splitlines())) < 2 * CHUNK


@pytest.mark.requirement("journal:unknown-event-kept")
async def test_what_this_version_does_not_know_comes_along_as_it_is() -> None:
    async with Runtime.open("memory:") as one, Runtime.open("memory:") as two:
        await strange(one, must=False)
        file = await exported(one)
        await two.load(io.BytesIO(file))
        assert events_of(await exported(two))[:1] == events_of(file)


async def strange(runtime: Runtime, *, must: bool) -> None:
    """Writes an event of a type nobody knows."""
    claim = await runtime.journal.claim(S, WorkerId("w"), 1_000_000)
    body = {
        "seq": 1,
        "id": "e1",
        "type": "moon.seen",
        "at": 1,
        "epoch": 1,
        "v": 7,
        "data": {"b": [1, {"a": 2}], "a": 1},
    }
    record = Record(1, "moon.seen", json.dumps(body | ({"must_understand": True} if must else {})).encode())
    await runtime.journal.append(S, claim.head.epoch, 0, BatchId("b"), [record])
    await runtime.journal.release(S, claim.head.epoch)


@pytest.fixture
async def good(tmp_path: Path) -> bytes:
    (tmp_path / "w").mkdir()
    async with scene([WRITE, Turn(text="y" * 60_000)]) as s:
        return await worked(s, tmp_path / "w")


async def refused(file: io.BytesIO, why: str) -> None:
    """Proves that a file is refused with those words, and that nothing of it is to be seen."""
    async with Runtime.open("memory:", clock=SystemClock()) as runtime:
        with pytest.raises(UsageError, match=why):
            await runtime.load(file)
        assert await runtime.journal.heads("local") == []
        assert await runtime.journal.feed() == []
        file.seek(0)


@pytest.mark.requirement("runtime:import-refuses-damage")
async def test_a_torn_file_is_refused_wherever_it_was_torn(good: bytes) -> None:
    ends = [*range(0, len(good), max(1, len(good) // 60)), len(good) - 1]
    for end in ends:
        await refused(io.BytesIO(good[:end]), r"^line \d+ of the export")


@pytest.mark.requirement("runtime:import-refuses-hostile")
async def test_a_file_that_begins_with_no_text_is_no_export(good: bytes) -> None:
    await refused(
        io.BytesIO(good.replace(b'"', b'"\xff', 1)), "line 1 of the export does not say that this is an export"
    )


@pytest.mark.requirement("runtime:import-refuses-damage")
async def test_a_changed_byte_is_noticed_wherever_it_is(good: bytes) -> None:
    for place in range(10, len(good) - 90, max(1, len(good) // 60)):
        changed = bytearray(good)
        changed[place] ^= 1
        await refused(io.BytesIO(bytes(changed)), "export")


def _swap(lines: list[bytes]) -> None:
    lines[2], lines[3] = lines[3], lines[2]


def _long(lines: list[bytes]) -> None:
    lines[2] = lines[2][:-1] + b',"more":"' + b"x" * LINE + b'"}'


def _must(lines: list[bytes]) -> None:
    event = json.loads(lines[2])
    lines[2] = json.dumps(event | {"type": "moon.seen", "must_understand": True}).encode()


def _wrong_content(lines: list[bytes]) -> None:
    place = next(n for n, line in enumerate(lines) if line.startswith(b'{"blob":') and b'"of":[]' not in line)
    lines[place + 1] = lines[place + 1].replace(b"eXl5", b"enp6", 1)


def _stray(lines: list[bytes]) -> None:
    place = next(n for n, line in enumerate(lines) if line.startswith(b'{"blob":'))
    lines[place] = lines[place].replace(b'"of":[', b'"of":[99999', 1).replace(b"99999]", b"99999]")


def _senseless(lines: list[bytes]) -> None:
    event = json.loads(lines[2])
    assert event["type"] == "run.started"
    event["data"]["input"] = 77
    lines[2] = json.dumps(event).encode()


def _foreign_snapshot(lines: list[bytes]) -> None:
    for place, line in enumerate(lines):
        lines[place] = line.replace(b'"store":"tree"', b'"store":"moon"')


def _newer(lines: list[bytes]) -> None:
    lines[0] = json.dumps(json.loads(lines[0]) | {"version": 9}).encode()


def _deep(lines: list[bytes]) -> None:
    lines[2] = lines[2][:-1] + b',"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def _no_text(place: int) -> Callable[[list[bytes]], None]:
    def change(lines: list[bytes]) -> None:
        at = next(n for n, line in enumerate(lines) if line.startswith(b'{"blob":')) if place < 0 else place
        lines[at] = lines[at].replace(b'"', b'"\xff\xfe', 4)

    return change


@pytest.mark.requirement("runtime:import-refuses-hostile")
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_swap, "line 3 of the export is event 3, where 2 belongs"),
        (_long, "line 3 of the export has more than"),
        (_must, "line 3 of the export is a 'moon.seen', which this version of Holdfast must understand"),
        (_wrong_content, "begins a blob whose bytes are not what its digest says"),
        (_stray, "begins a blob of no event"),
        (_senseless, "do not make a session"),
        (_foreign_snapshot, "names a snapshot of the store 'moon'"),
        (_newer, "line 1 of the export says 'holdfast.session' 9"),
        (_deep, "line 3 of the export is not event 2"),
        (_no_text(2), "line 3 of the export is not event 2"),
        (_no_text(-1), "is neither a blob nor the end"),
    ],
)
async def test_a_hostile_file_is_refused_by_its_line(
    good: bytes, change: Callable[[list[bytes]], None], why: str
) -> None:
    await refused(sealed_again(good, change), why)


@pytest.mark.requirement("runtime:import-refuses-hostile")
async def test_names_that_lead_elsewhere_are_no_names(good: bytes) -> None:
    for name in ("../../etc", "a/b", "", "~", "x~1"):

        def rename(lines: list[bytes], name: str = name) -> None:
            lines[0] = msgspec.json.encode(json.loads(lines[0]) | {"session": name})

        await refused(sealed_again(good, rename), "is not a valid name")


@pytest.mark.requirement("runtime:export-import")
async def test_nothing_is_exported_of_what_is_not_there() -> None:
    async with Runtime.open("memory:") as runtime:
        with pytest.raises(UnknownSession):
            await exported(runtime)
        await runtime.journal.claim(S, WorkerId("w"), 1)
        with pytest.raises(UsageError, match="has no event yet"):
            await exported(runtime)
        assert await runtime.journal.blobs.usage(TenantId("local")) is not None


class Doing:
    """Sessions to which random things were done: runs, forks, rewinds, scrubs."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.names = ["s0"]
        self.made = 0

    async def do(self, what: int, where: int, at: int) -> None:
        name = self.names[where % len(self.names)]
        stream = StreamId(f"local/{name}")
        head = await self.runtime.journal.head(stream)
        last = head.seq if head else 0
        match what:
            case 0 | 1:
                await write_run(self.runtime.journal, stream, at % 5, mark=f"m{at}")
            case 2 if last:
                self.made += 1
                self.names.append(await self.runtime.fork(name, at=1 + at % last, name=f"s{self.made}"))
            case 3 if last:
                await self.runtime.rewind(name, to=at % (last + 1))
            case 4 if last:
                await self.runtime.scrub(name, at=[1 + at % last])
            case 5 if last and len(self.names) > 1:
                await self.runtime.delete(name)
                self.names.remove(name)
            case _:
                pass


@pytest.mark.requirement("runtime:export-folds-the-same")
@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 99)), max_size=12))
async def test_any_session_folds_to_the_same_after_it_came_back(steps: list[tuple[int, int, int]]) -> None:
    async with Runtime.open("memory:") as one, Runtime.open("memory:", tenant="else") as two:
        doing = Doing(one)
        await doing.do(0, 0, 2)
        for step in steps:
            await doing.do(*step)
        for name in doing.names:
            file = await exported(one, name)
            done = await two.load(io.BytesIO(file))
            log = [event async for event in read_events(two.journal, stream_id("else", name), CODEC)]
            told = [event async for event in read_events(one.journal, StreamId(f"local/{name}"), CODEC)]
            assert log[: done.events] == told
            assert replay(log[: done.events]) == replay(told)
            assert replay(log).messages[: len(replay(told).messages)] == replay(told).messages
            assert events_of(await exported(two, name))[: done.events] == events_of(file)


async def test_a_fork_of_a_fork_that_is_taken_back_before_both_stays_in_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    async with scene([WRITE, Turn(text="Done.")]) as s:
        await worked(s, tmp_path / "w")
        await s.runtime.fork("s", name="f", workspace=tmp_path / "f")
        await s.runtime.fork("f", name="g", workspace=tmp_path / "g")
        await s.runtime.rewind("g", to=2)
        assert await s.runtime.workspace("g") == str(tmp_path / "g")
    assert [(tmp_path / name / "a.txt").exists() for name in "wfg"] == [True, True, False]
