from __future__ import annotations

import asyncio
import math
import os
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.errors import StorageError, UsageError
from holdfast.storage import sqlite as storage_sqlite
from holdfast.storage import sqlite_pace
from holdfast.storage.migrating import Schema
from holdfast.storage.sqlite import Connection, Database
from holdfast.storage.sqlite_pace import Pace

NOTES = Schema("notes", (("create table note (n integer primary key, text text unique)",),))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(str(tmp_path / "n.db"), (NOTES,))
    yield database
    await database.close()


def add(connection: Connection, text: str) -> int:
    return connection.execute("insert into note (text) values (?)", (text,)).lastrowid or 0


def refuse(connection: Connection, text: str) -> None:
    raise UsageError(f"{text!r} is refused; say something else")


def add_and_refuse(connection: Connection, text: str) -> None:
    add(connection, text)
    refuse(connection, text)


def texts(connection: Connection) -> list[str]:
    return [text for (text,) in connection.execute("select text from note order by n")]


def hold(connection: Connection, begun: threading.Event, go_on: threading.Event) -> None:
    begun.set()
    assert go_on.wait(5)


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is always quick enough to be waited for in the event loop."""
    monkeypatch.setattr(sqlite_pace, "_LONG", math.inf)


@pytest.fixture(params=["write", "stage", "stage, quick disk"])
def hand_in(request: pytest.FixtureRequest, database: Database):
    """How functions are handed in: for the writer's thread, or for the event loop, which may commit, too."""
    how, _, disk = request.param.partition(", ")
    if disk:
        request.getfixturevalue("quick_disk")
    return getattr(database, how)


def statements(database: Database) -> asyncio.Future[list[tuple[str, int]]]:
    """A list that grows with each statement of the writing connection, and the thread it runs in."""
    seen: list[tuple[str, int]] = []

    def watch(connection: Connection) -> list[tuple[str, int]]:
        connection.set_trace_callback(lambda statement: seen.append((statement, threading.get_ident())))
        return seen

    return database.write(watch)


async def blocked(database: Database) -> tuple[asyncio.Future[None], threading.Event]:
    """Keeps the writer busy, so that what is handed in meanwhile becomes one group."""
    begun, go_on = threading.Event(), threading.Event()
    held = database.write(hold, begun, go_on)
    assert await asyncio.to_thread(begun.wait, 5)
    return held, go_on


@pytest.mark.requirement("storage:sqlite-group-commit")
async def test_what_waits_together_is_committed_together(database: Database, hand_in) -> None:
    commits: list[str] = []
    await database.write(lambda connection: connection.set_trace_callback(commits.append))
    held, go_on = await blocked(database)
    commits.clear()
    waiting = [hand_in(add, f"t{n}") for n in range(100)]
    go_on.set()
    await asyncio.gather(held, *waiting)
    assert commits.count("commit") == 2  # of the one that blocked, and of all hundred
    assert [await future for future in waiting] == list(range(1, 101)), "in the order in which they were handed in"


@pytest.mark.requirement("storage:sqlite-group-waits-for-its-own")
async def test_as_many_as_shared_the_last_commit_wait_for_nobody_else(
    database: Database, hand_in, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = await statements(database)
    seen.clear()
    monkeypatch.setattr(storage_sqlite, "_GATHER", 1000)
    async with asyncio.timeout(10):
        await asyncio.gather(*[hand_in(add, f"first {n}") for n in range(3)])
        first = hand_in(add, "again 0")
        await asyncio.sleep(0)
        await asyncio.gather(first, *[hand_in(add, f"again {n}") for n in range(1, 3)])
        begun, go_on = threading.Event(), threading.Event()
        held = [database.write(hold, begun, go_on), hand_in(add, "beside 1"), hand_in(add, "beside 2")]
        assert await asyncio.to_thread(begun.wait, 5)
        waiting = [hand_in(add, f"meanwhile {n}") for n in range(4)]
        go_on.set()
        await asyncio.gather(*held, *waiting)
    assert [statement for statement, _ in seen].count("commit") == 4


@pytest.mark.requirement("storage:sqlite-group-waits-for-its-own")
async def test_one_that_is_missing_is_not_waited_for_long(database: Database, hand_in) -> None:
    async with asyncio.timeout(10):
        await asyncio.gather(*[hand_in(add, f"first {n}") for n in range(3)])
        await hand_in(add, "alone")
        await hand_in(add, "and once more")
    assert len(await database.read(texts)) == 5


@pytest.mark.requirement("storage:sqlite-group-isolates-failure")
@pytest.mark.parametrize(
    ("call", "error"),
    [
        (refuse, UsageError),
        (add_and_refuse, UsageError),
        (lambda connection, text: 1 // 0, ZeroDivisionError),
        (lambda connection, text: add(connection, "a"), StorageError),
        (lambda connection, text: connection.execute("not sql"), StorageError),
    ],
    ids=["refusal", "refusal-after-a-write", "bug", "constraint", "syntax"],
)
async def test_one_that_fails_leaves_the_others_of_its_group(database: Database, hand_in, call, error) -> None:
    held, go_on = await blocked(database)
    futures = [hand_in(add, "a"), hand_in(call, "bad"), hand_in(add, "b")]
    go_on.set()
    first, failed, last = await asyncio.gather(*futures, return_exceptions=True)
    await held
    assert (first, last) == (1, 2)
    assert type(failed) is error
    assert await database.read(texts) == ["a", "b"]


@pytest.mark.requirement("storage:sqlite-reads-during-write")
async def test_readers_see_the_last_commit_while_the_writer_is_busy(database: Database) -> None:
    await database.write(add, "before")

    def add_and_hold(connection: Connection) -> None:
        add(connection, "during")
        hold(connection, begun, go_on)

    begun, go_on = threading.Event(), threading.Event()
    writing = database.write(add_and_hold)
    assert await asyncio.to_thread(begun.wait, 5)
    assert await asyncio.wait_for(database.read(texts), 5) == ["before"]
    go_on.set()
    await writing
    assert await database.read(texts) == ["before", "during"]


async def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(StorageError):
        await database.read(add, "x")


async def test_writers_of_several_event_loops_are_each_answered_in_their_own(database: Database, hand_in) -> None:
    def elsewhere(name: str) -> None:
        async def run() -> None:
            await asyncio.gather(*(hand_in(add, f"{name}{n}") for n in range(50)))

        asyncio.run(run())

    await asyncio.gather(*(asyncio.to_thread(elsewhere, name) for name in "abc"))
    assert sorted(await database.read(texts)) == sorted(f"{name}{n}" for name in "abc" for n in range(50))


async def test_a_caller_that_is_cancelled_disturbs_nobody(database: Database, hand_in) -> None:
    held, go_on = await blocked(database)
    cancelled, kept = hand_in(add, "a"), hand_in(add, "b")
    cancelled.cancel()
    go_on.set()
    await held
    assert await kept == 2


async def test_what_is_quick_runs_in_the_event_loop_and_what_is_not_in_the_thread(database: Database) -> None:
    def here(connection: Connection) -> int:
        return threading.get_ident()

    assert await database.stage(here) == threading.get_ident()
    assert await database.write(here) != threading.get_ident()
    first, second = database.stage(here), database.write(here)
    assert await first == await second != threading.get_ident(), "one turn has one place, so that order is kept"


async def test_a_lock_another_program_holds_is_waited_for_outside_the_event_loop(database: Database) -> None:
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("begin immediate")
    waiting = database.stage(add, "late")
    ticks = 0
    while ticks < 50:  # the event loop goes on
        await asyncio.sleep(0)
        ticks += 1
    assert not waiting.done()
    other.execute("commit")
    other.close()
    assert await asyncio.wait_for(waiting, 5) == 1


async def test_an_interrupt_in_mid_transaction_leaves_no_lock_and_loses_nothing(database: Database) -> None:
    interrupted = False

    def add_once_interrupted(connection: Connection) -> int:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt
        return add(connection, "kept")

    waiting: list[asyncio.Future[int]] = []
    with pytest.raises(KeyboardInterrupt):
        await asyncio.to_thread(lambda: asyncio.run(_hand_in(database, add_once_interrupted, waiting)))
    assert await asyncio.wait_for(database.stage(add, "after"), 5) == 2
    assert await database.read(texts) == ["kept", "after"]


async def _hand_in(database: Database, call, waiting: list[asyncio.Future[int]]) -> None:
    waiting.append(database.stage(call))
    await waiting[0]


@pytest.mark.requirement("storage:sqlite-quick-disk")
def test_a_disk_is_taken_for_quick_after_a_few_commits_and_for_slow_again_after_a_few_more() -> None:
    pace = Pace()
    for _ in range(8):
        assert not pace.quick(0), "nobody knows yet"
        pace.committed_in_thread(0.0003, 0)
    assert pace.quick(0)
    pace.committed_here(0.5)
    assert pace.quick(0), "one that was held up says little of the next"
    for _ in range(3):
        pace.committed_here(0.5)
    assert not pace.quick(0), "it was held up again and again"
    for seconds in (0.02, 0.0003, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02):
        pace.committed_in_thread(seconds, 0)
    assert pace.quick(0), "the thread may have waited for more than the disk: the quickest counts"
    for _ in range(40):
        pace.committed_here(0.0032)
    assert not pace.quick(0), "a little too slow, but always"
    for _ in range(80):
        pace.committed_in_thread(0.0032, 0)
    assert not pace.quick(0)


@pytest.mark.requirement("storage:sqlite-quick-disk")
async def test_the_event_loop_commits_where_the_disk_is_quick(database: Database, quick_disk) -> None:
    seen = await statements(database)
    for n in range(20):
        await database.stage(add, f"t{n}")
    places = [thread for statement, thread in seen if statement == "commit"]
    assert len(places) == 21
    assert set(places[1:]) == {threading.get_ident()}


@pytest.mark.requirement("storage:sqlite-quick-disk")
async def test_a_disk_that_was_never_quick_is_waited_for_by_the_thread(database: Database, monkeypatch) -> None:
    monkeypatch.setattr(sqlite_pace, "_SHORT", 0.0)
    seen = await statements(database)
    for n in range(30):
        await database.stage(add, f"t{n}")
    assert threading.get_ident() not in {thread for statement, thread in seen if statement == "commit"}


@pytest.mark.requirement("storage:sqlite-quick-disk")
async def test_what_is_copied_into_the_file_is_copied_in_the_thread_and_in_time(database: Database, quick_disk) -> None:
    seen = await statements(database)
    for n in range(60):
        await asyncio.gather(*(database.stage(add, f"{n} {m} {'x' * 4000}") for m in range(50)))
    places = [thread for statement, thread in seen if statement == "commit"]
    assert threading.get_ident() in places
    assert 2 <= sum(thread != threading.get_ident() for thread in places) <= 6, "about every thousand rows"
    assert os.stat(f"{database.path}-wal").st_size < 24_000_000, "of three thousand pages of text and their index"  # noqa: PTH116
    checkpointed = [statement for statement, _ in seen if "wal_autocheckpoint" in statement]
    assert checkpointed[0].endswith("= 0"), "no commit of the event loop copies anything"


@pytest.mark.requirement("storage:sqlite-quick-disk")
@pytest.mark.parametrize("place", ["committed_here", "_stage", "_end_turn", "settle", "_tell"])
async def test_an_interrupt_right_after_a_commit_in_the_event_loop_runs_nothing_twice(
    database: Database, quick_disk, place: str
) -> None:
    waiting: list[asyncio.Future[int]] = []
    whose = {"committed_here": sqlite_pace.Pace, "settle": storage_sqlite}.get(place, Database)
    asked = getattr(whose, place)
    left = [KeyboardInterrupt]

    def interrupted(*given: object) -> object:
        done = asked(*given) if place == "_stage" or not left else None
        if left:
            raise left.pop()
        return done

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(whose, place, interrupted)
        await asyncio.to_thread(lambda: asyncio.run(_hand_in(database, add_kept, waiting)))
    assert await asyncio.wait_for(database.stage(add, "after"), 5) == 2
    assert await database.read(texts) == ["kept", "after"]


def add_kept(connection: Connection) -> int:
    return add(connection, "kept")


@pytest.mark.requirement("storage:close-finishes-writes")
async def test_closing_finishes_what_was_handed_in_and_ends_every_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    database = await Database.open(str(tmp_path / "n.db"), (NOTES,))
    await database.read(texts)
    futures = [database.write(add, f"t{n}") for n in range(1000)]
    reads = [database.read(texts) for _ in range(20)]
    await database.close()
    assert all(future.done() for future in (*futures, *reads))
    assert threading.active_count() <= before + 1  # the last one is on its way out
    assert os.listdir(tmp_path) == ["n.db"], "the write-ahead log is folded back"  # noqa: PTH208
    with sqlite3.connect(tmp_path / "n.db") as connection:
        assert len(texts(connection)) == 1000
    connection.close()
    with pytest.raises(StorageError, match="was closed"):
        await database.write(add, "late")
    await database.close()


async def test_sessions_are_private_to_their_user(database: Database) -> None:
    await database.write(add, "a")
    for name in (database.path, f"{database.path}-wal", f"{database.path}-shm"):
        mode = Path(name).stat().st_mode  # noqa: ASYNC240
        assert stat.S_IMODE(mode) == 0o600, name


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_a_forked_child_is_told_to_open_its_own(database: Database) -> None:
    await database.write(add, "parent")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            database.write(add, "child")
        except StorageError as error:
            code = 0 if "forked" in str(error) else 2
        finally:
            os._exit(code)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    await database.write(add, "parent again")
    assert await database.read(texts) == ["parent", "parent again"]
    assert await database.read(lambda c: c.execute("pragma integrity_check").fetchone()[0]) == "ok"


async def test_a_version_changes_with_every_commit_of_anybody(database: Database) -> None:
    first = await database.version()
    assert await database.version() == first
    await database.write(add, "a")
    second = await database.version()
    assert second != first
    other = await Database.open(database.path, (NOTES,))
    await other.write(add, "b")
    assert await database.version() != second
    await other.close()


@pytest.mark.requirement("storage:sqlite-normal-setting")
async def test_full_is_the_default_and_normal_is_asked_for(tmp_path: Path) -> None:
    path = str(tmp_path / "n.db")
    ways = (
        (Database.open(path, (NOTES,)), 2),
        (Database.open(path, (NOTES,), synchronous="full"), 2),
        (Database.open(path, (NOTES,), synchronous="normal"), 1),
    )
    for opening, level in ways:
        database = await opening
        assert await database.write(lambda c: c.execute("pragma synchronous").fetchone()[0]) == level
        assert await database.write(lambda c: c.execute("pragma journal_mode").fetchone()[0]) == "wal"
        await database.close()


@pytest.mark.requirement("storage:migrations-forward")
async def test_an_older_database_moves_forward_each_step_once(tmp_path: Path) -> None:
    path = str(tmp_path / "n.db")
    second = ("alter table note add column mood text default 'calm'", "insert into note (text) values ('step 2')")
    third = ("insert into note (text) values ('step 3')",)
    for steps in (NOTES.steps, (*NOTES.steps, second), (*NOTES.steps, second, third), (*NOTES.steps, second, third)):
        database = await Database.open(path, (Schema("notes", steps),))
        found = await database.read(texts)
        await database.close()
    assert found == ["step 2", "step 3"]


async def test_a_step_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = str(tmp_path / "n.db")
    await (await Database.open(path, (NOTES,))).close()
    bad = Schema("notes", (*NOTES.steps, ("insert into note (text) values ('half')", "insert into nowhere values (1)")))
    with pytest.raises(StorageError, match="nowhere"):
        await Database.open(path, (bad,))
    database = await Database.open(path, (NOTES,))
    assert await database.read(texts) == []
    await database.close()


async def test_rooms_keep_their_own_numbers_in_one_file(tmp_path: Path) -> None:
    path = str(tmp_path / "n.db")
    other = Schema("other", (("create table other (n integer)",),))
    for schemas in ((NOTES,), (NOTES, other), (other,)):
        await (await Database.open(path, schemas)).close()


@pytest.mark.requirement("storage:migrations-newer-refused")
async def test_a_newer_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "n.db"
    newer = Schema("notes", (*NOTES.steps, ("create table later (n integer)",)))
    await (await Database.open(str(path), (newer,))).close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="newer version") as error:
        await Database.open(str(path), (NOTES,))
    assert "upgrade Holdfast" in str(error.value)
    assert path.read_bytes() == before


async def test_a_step_that_was_changed_is_noticed(tmp_path: Path) -> None:
    path = str(tmp_path / "n.db")
    await (await Database.open(path, (NOTES,))).close()
    with pytest.raises(StorageError, match="step 1 of schema 'notes'"):
        await Database.open(path, (Schema("notes", (("create table note (n integer)",),)),))


async def test_a_database_of_another_program_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    connection = sqlite3.connect(path)
    connection.execute("create table theirs (n integer)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="another program"):
        await Database.open(str(path), (NOTES,))
    assert path.read_bytes() == before


async def test_many_that_make_one_file_at_once_all_get_it(tmp_path: Path) -> None:
    path = str(tmp_path / "n.db")
    opened = await asyncio.gather(*(Database.open(path, (NOTES,)) for _ in range(8)))
    await asyncio.gather(*(database.write(add, f"t{n}") for n, database in enumerate(opened)))
    assert len(await opened[0].read(texts)) == 8
    await asyncio.gather(*(database.close() for database in opened))
