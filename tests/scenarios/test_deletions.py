"""Deleting sessions where something is in the way: one that is damaged, one that is in use, a store that refuses."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.running import MODEL, Scene, Wrapped, scene, soon, until
from tests.surfaces.commands import Shell

from holdfast import Agent
from holdfast.errors import Corrupt, HoldfastError, LeaseHeld, StorageDamaged, StorageLocked, UnknownSession, UsageError
from holdfast.journal.port import FeedItem
from holdfast.runtime.history.reports import Retention
from holdfast.types import Digest, StreamId, TenantId, WorkerId, stream_id

AGENT = Agent(MODEL)
LOCAL = TenantId("local")
LARGE, SECRET = "x" * 60_000, "sk-live-6f1c-unique"


async def talk(s: Scene, *sessions: str, text: str = "go") -> None:
    """Has one run in each of some sessions, one after another."""
    for name in sessions:
        await soon((await s.runtime.start(AGENT, text, session=name)).result())
        await until(lambda: not s.runtime._worker._live)
        await asyncio.sleep(0.001)  # so that each is older than the next


async def there(s: Scene) -> list[str]:
    return [head.stream.partition("/")[2] for head in await s.runtime.journal.heads("local")]


async def content(s: Scene, session: str) -> Digest:
    """Returns the blob that holds a session's prompt."""
    records = await s.runtime.journal.read(stream_id("local", session))
    (blob,) = [each.blob for each in records if each.blob]
    return blob


async def damage(s: Scene, session: str, how: str, folder: Path) -> None:
    """Loses the content of an event, or changes its bytes."""
    blob = await content(s, session)
    if how == "lost":
        assert await s.runtime.journal.discard(LOCAL, {blob}, 1 << 60, busy=True) == {blob}
    else:
        with closing(sqlite3.connect(folder / "s.db")) as connection:
            connection.execute(
                "update blob set bytes = cast('y' || substr(bytes, 2) as blob) where digest = ?", (blob,)
            )
            connection.commit()
    with pytest.raises((Corrupt, StorageDamaged)):
        await s.log(session)


def traces(folder: Path) -> list[str]:
    return [each.name for each in folder.glob("s.db*") if SECRET.encode() in each.read_bytes()]


@pytest.mark.requirement("runtime:delete-damaged")
@pytest.mark.parametrize("how", ["lost", "changed"])
async def test_a_damaged_session_can_be_deleted(how: str, tmp_path: Path) -> None:
    async with scene(["a"] * 9, url=f"sqlite:///{tmp_path}/s.db") as s:
        await talk(s, "bad", text=LARGE)
        await damage(s, "bad", how, tmp_path)
        done = await s.runtime.delete("bad")
        assert (done.sessions, done.events, done.left) == (("bad",), 4, 1)  # the spec of the agent
        assert done.blobs == (how == "changed")
        assert await there(s) == []
        await s.runtime.collect()


@pytest.mark.requirement("runtime:delete-damaged")
@pytest.mark.parametrize("how", ["lost", "changed"])
async def test_what_is_deleted_is_in_no_file_though_another_session_is_damaged(how: str, tmp_path: Path) -> None:
    async with scene(["a"] * 9, url=f"sqlite:///{tmp_path}/s.db") as s:
        await talk(s, "bad", text=LARGE)
        await talk(s, "good", text=SECRET)
        await damage(s, "bad", how, tmp_path)
        assert (await s.runtime.delete("good")).sessions == ("good",)
        assert traces(tmp_path) == []


@pytest.mark.requirement("runtime:delete-damaged")
@pytest.mark.parametrize("how", ["lost", "changed"])
async def test_a_damaged_session_stops_no_retention(how: str, tmp_path: Path) -> None:
    async with scene(["a"] * 9, url=f"sqlite:///{tmp_path}/s.db") as s:
        await talk(s, "first")
        await talk(s, "bad", text=LARGE)
        await talk(s, "last", text=SECRET)
        await damage(s, "bad", how, tmp_path)
        done = await s.runtime.collect(Retention(sessions=0.0))
        assert (done.sessions, done.refused, await there(s)) == (("last", "bad", "first"), (), [])
        assert traces(tmp_path) == []


class Refusing(Wrapped):
    """A store that does not delete one of the sessions."""

    async def delete(self, stream: StreamId, epoch: int) -> int:
        if stream.endswith("/first"):
            raise StorageLocked("another program holds the database")
        return await self.inner.delete(stream, epoch)


@pytest.mark.requirement("runtime:delete-session")
@pytest.mark.parametrize("all_of_them", [True, False])
async def test_what_was_deleted_before_the_store_refused_is_in_no_file(all_of_them: bool, tmp_path: Path) -> None:
    async with scene(["a"] * 9, url=f"sqlite:///{tmp_path}/s.db", wrap=Refusing) as s:
        await talk(s, "first")
        await talk(s, "last", text=SECRET)
        assert traces(tmp_path) != []
        with pytest.raises(StorageLocked):
            await (s.runtime.collect(Retention(sessions=0.0)) if all_of_them else s.runtime.delete("last", "first"))
        assert (await there(s), traces(tmp_path)) == (["first"], [])


class Slow(Wrapped):
    """A store in which a deletion takes longer than whoever asked for it waits."""

    deleting: asyncio.Event

    async def delete(self, stream: StreamId, epoch: int) -> int:
        done: int = await self.inner.delete(stream, epoch)
        Slow.deleting.set()
        await asyncio.sleep(0.01)
        return done


@pytest.mark.requirement("runtime:delete-session")
async def test_what_was_deleted_for_a_caller_that_was_cancelled_is_in_no_file(tmp_path: Path) -> None:
    Slow.deleting = asyncio.Event()
    async with scene(["a"] * 9, url=f"sqlite:///{tmp_path}/s.db", wrap=Slow) as s:
        await talk(s, "s", text=SECRET)
        deleting = asyncio.create_task(s.runtime.delete("s"))
        await soon(Slow.deleting.wait())
        deleting.cancel()
        await asyncio.wait([deleting])
        assert await there(s) == []
        await until(lambda: traces(tmp_path) == [])


@pytest.mark.requirement("runtime:sessions-expire")
async def test_retention_passes_over_who_is_in_use_and_what_that_was_forked_from_and_says_so(tmp_path: Path) -> None:
    async with scene(["a"] * 9, url=f"sqlite:///{tmp_path}/s.db") as s:
        await talk(s, "parent", "other")
        await s.runtime.fork("parent", name="child")
        await s.runtime.fork("child", name="grandchild")
        await talk(s, "busy")
        for name in ("busy", "grandchild"):
            await s.runtime.journal.claim(stream_id("local", name), WorkerId("another host"), 60_000_000)
        done = await s.runtime.collect(Retention(sessions=0.0))
        assert done.sessions == ("other",)
        assert await there(s) == ["busy", "child", "grandchild", "parent"]
    why: dict[str, str] = {each.session: each.why for each in done.refused}
    assert list(why) == ["busy", "grandchild", "child", "parent"]
    assert "owned by" in why["busy"]
    assert why["parent"] == "a session that was forked from it stays"


@pytest.mark.requirement("runtime:sessions-expire", "cli:runs-prune-sessions")
def test_pruning_says_which_sessions_stay_and_why(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    (tmp_path / "data" / "holdfast").mkdir(parents=True)

    async def leave() -> None:
        async with scene(["a"] * 9, url=sh.store) as s:
            await talk(s, "free", "busy")
            await s.runtime.journal.claim(stream_id("local", "busy"), WorkerId("another host"), 60_000_000)

    asyncio.run(leave())
    done = msgspec.json.decode(sh.run("runs", "prune", "--sessions-older-than", "0d", "-o", "json").stdout)
    assert (done["sessions"], [each["session"] for each in done["refused"]]) == (["free"], ["busy"])
    lines = sh.run("runs", "prune", "--sessions-older-than", "0d").stdout.splitlines()
    assert lines[0].startswith("✗ kept busy: stream 'local/busy' is owned by 'another host'")


@pytest.mark.parametrize("days", [float("inf"), float("nan"), -1.0])
def test_a_retention_without_an_end_or_below_zero_is_refused(days: float) -> None:
    with pytest.raises(UsageError, match="a retention counts"):
        Retention(days=days)
    with pytest.raises(UsageError, match="a retention counts"):
        Retention(sessions=days)


class Counting(Wrapped):
    """Counts how often the feed is read, and the files are written anew."""

    surveys = erasures = 0

    async def feed(self, *arguments: Any, **named: Any) -> list[FeedItem]:
        Counting.surveys += 1
        return await self.inner.feed(*arguments, **named)

    async def erase(self) -> None:
        Counting.erasures += 1
        await self.inner.erase()


@pytest.mark.requirement("runtime:release-at-once")
async def test_many_sessions_are_released_with_one_look_at_the_log(tmp_path: Path) -> None:
    counts: set[tuple[int, int]] = set()
    async with scene(["a"] * 9, url=f"sqlite:///{tmp_path}/s.db", wrap=Counting) as s:
        await talk(s, "base")
        for many in (1, 4, 16):
            names = await s.runtime.branches("base", many)
            await talk(s, *names[:4])
            Counting.surveys = Counting.erasures = 0
            done = await s.runtime.release(*names)
            assert done.sessions == names
            counts.add((Counting.surveys, Counting.erasures))
        assert await there(s) == ["base"]
    assert counts == {(2, 1)}


@pytest.mark.requirement("runtime:release-at-once")
async def test_a_release_that_is_refused_leaves_no_folder_of_what_it_deleted(tmp_path: Path) -> None:
    async with scene(["a"] * 9, url=f"sqlite:///{tmp_path}/s.db") as s:
        await talk(s, "base")
        names = await s.runtime.branches("base", 3)
        folders = [s.runtime._sandboxes._folder_of(LOCAL, name) for name in names]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        with pytest.raises(UnknownSession):
            await s.runtime.release(names[0], "nobody")
        assert set(names) < set(await there(s))
        await s.runtime.journal.claim(stream_id("local", names[1]), WorkerId("another host"), 60_000_000)
        with pytest.raises(LeaseHeld):
            await s.runtime.release(*names)
        assert await there(s) == sorted(["base", *names[1:]])
        assert [folder.exists() for folder in folders] == [False, True, True]
        folders[0].mkdir()  # as whoever is killed before it is removed leaves it
        assert (await s.runtime.release(names[0], names[2])).sessions == (names[2],)
        assert [folder.exists() for folder in folders] == [False, True, False]
        with pytest.raises(HoldfastError):
            await s.runtime.release(names[0])
