"""One writer at a time: the lock of a workspace, within a process and among processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.places import sandbox_at
from tests.running import soon, until

from holdfast.errors import WorkspaceBusy
from holdfast.sandbox import locking
from holdfast.sandbox.locking import Exclusive, let_go
from holdfast.sandbox.sandbox import Sandbox
from holdfast.storage.stores.memory import MemoryBlobStore

pytestmark = pytest.mark.requirement("sandbox:one-writer-for-a-workspace")

CHILD = """
import asyncio, sys
from holdfast.sandbox.locking import Exclusive
async def hold():
    async with Exclusive(sys.argv[1], "store", "session 'far'", 5):
        print("held", flush=True)
        sys.stdin.read()
asyncio.run(hold())
"""


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    let_go()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    yield tmp_path / "data/holdfast/locks"
    let_go()


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def box(tmp_path: Path) -> Sandbox:
    (tmp_path / "w").mkdir()
    return sandbox_at(tmp_path / "w", MemoryBlobStore())


@asynccontextmanager
async def elsewhere(box: Sandbox) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Runs another process that has the workspace."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(box.workspace.root), stdin=PIPE, stdout=PIPE
    )
    assert child.stdout is not None
    assert await soon(child.stdout.readline(), 10) == b"held\n"
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def test_who_comes_second_is_told_who_has_it_and_nothing_is_put_into_the_folder(box: Sandbox) -> None:
    async with box.exclusive("session 'a'", 0):
        with pytest.raises(WorkspaceBusy, match=r"being changed by session 'a' in this process.* 0\.01 seconds.*fork"):
            async with box.exclusive("session 'b'", 0.01):
                pytest.fail("two have it")
    async with box.exclusive("session 'b'", 0):
        assert files(box.workspace.root) == []


async def test_an_owner_enters_again_and_has_it_until_all_have_left(box: Sandbox) -> None:
    async with box.exclusive("a", 0):
        async with box.exclusive("a", 0):
            pass
        with pytest.raises(WorkspaceBusy):
            await box.exclusive("b", 0).__aenter__()
    with pytest.raises(WorkspaceBusy):  # the same words of another store are somebody else
        async with box.exclusive("a", 0), Exclusive(str(box.workspace.root), "other", "a", 0):
            pass


async def test_who_waits_comes_in_when_it_is_free_in_the_order_of_asking(box: Sandbox) -> None:
    order: list[int] = []

    async def enter(number: int) -> None:
        async with box.exclusive(f"{number}", 5):
            order.append(number)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(enter(number))
    assert order == list(range(20))
    assert locking._FOLDERS == {}


async def test_who_stops_waiting_leaves_the_line_and_lets_the_next_in(box: Sandbox) -> None:
    async with box.exclusive("a", 0):
        first = asyncio.create_task(box.exclusive("b", 5).__aenter__())
        await until(lambda: bool(locking._FOLDERS[str(box.workspace.root)].line))
        second = asyncio.create_task(box.exclusive("c", 5).__aenter__())
        await until(lambda: len(locking._FOLDERS[str(box.workspace.root)].line) == 2)
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
    await soon(second)
    await box.exclusive("c", 0).__aexit__(None, None, None)
    assert locking._FOLDERS == {}


async def test_another_process_is_kept_out_told_of_and_its_end_frees_the_folder(box: Sandbox) -> None:
    async with elsewhere(box) as child:
        with pytest.raises(WorkspaceBusy, match=rf"by session 'far' in process {child.pid}"):
            async with box.exclusive("a", 0):
                pytest.fail("two have it")
        waiting = asyncio.create_task(box.exclusive("a", 10).__aenter__())
        child.send_signal(signal.SIGKILL)
        await soon(waiting, 10)
    await box.exclusive("a", 0).__aexit__(None, None, None)


async def test_the_files_of_locks_nobody_has_are_removed_and_a_held_one_stays_a_lock(box: Sandbox, data: Path) -> None:
    async with elsewhere(box):
        assert len(files(data)) == 1
        let_go()
        with pytest.raises(WorkspaceBusy):
            await box.exclusive("a", 0).__aenter__()
    async with box.exclusive("a", 0):
        let_go()
        assert len(files(data)) == 1
    let_go()
    assert files(data) == []


async def test_a_file_that_another_process_removed_is_no_lock_any_more(box: Sandbox, data: Path) -> None:
    async with box.exclusive("a", 0):
        pass
    for name in files(data):
        (data / name).unlink()  # as a process does that had it after us, and ended
    async with elsewhere(box):
        with pytest.raises(WorkspaceBusy):
            await box.exclusive("a", 0).__aenter__()
    async with box.exclusive("a", 0):
        assert len(files(data)) == 1


async def test_many_folders_keep_few_files_open(tmp_path: Path, data: Path) -> None:
    for number in range(30):
        async with Exclusive(str(tmp_path / f"{number}"), "s", "a", 0):
            pass
    assert len(files(data)) == len(locking._FREE) == locking._IDLE


async def test_where_no_file_can_be_made_the_process_itself_is_still_in_order(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(locking, "_places", lambda: (str(tmp_path / "file" / "locks"), "/proc/nothing"))
    async with box.exclusive("a", 0):
        with pytest.raises(WorkspaceBusy):
            await box.exclusive("b", 0).__aenter__()
    async with box.exclusive("b", 0):
        pass


async def test_a_forked_process_has_none_of_its_parents_locks(box: Sandbox) -> None:
    async with box.exclusive("a", 0):
        assert not entered_elsewhere(box, "b")
    assert entered_elsewhere(box, "b")


def test_loops_of_several_threads_exclude_each_other(tmp_path: Path) -> None:
    inside, most, lock = 0, 0, threading.Lock()

    async def work(name: str) -> None:
        nonlocal inside, most
        for _ in range(20):
            async with Exclusive(str(tmp_path), "s", name, 20):
                with lock:
                    inside += 1
                    most = max(most, inside)
                await asyncio.sleep(0)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=asyncio.run, args=(work(f"{n}"),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (most, inside, locking._FOLDERS) == (1, 0, {})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.booleans()), max_size=14))
async def test_never_two_owners_are_inside_whoever_comes_leaves_and_is_cancelled(
    tmp_path: Path, steps: list[tuple[int, int, bool]]
) -> None:
    inside: dict[str, int] = {}

    async def visit(owner: str, turns: int) -> None:
        async with Exclusive(str(tmp_path), "s", owner, 5):
            inside[owner] = inside.get(owner, 0) + 1
            assert [who for who, count in inside.items() if count] == [owner]
            try:
                for _ in range(turns):
                    await asyncio.sleep(0)
            finally:
                inside[owner] -= 1

    tasks: list[asyncio.Task[None]] = []
    for owner, turns, cancel in steps:
        tasks.append(asyncio.create_task(visit(f"{owner}", turns)))
        await asyncio.sleep(0)
        if cancel:
            tasks[turns % len(tasks)].cancel()
    for each in await asyncio.gather(*tasks, return_exceptions=True):
        assert each is None or isinstance(each, asyncio.CancelledError), each
    assert locking._FOLDERS == {}


async def test_a_free_lock_costs_next_to_nothing(box: Sandbox) -> None:
    best = 1.0
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(200):
            async with box.exclusive("a", 0):
                pass
        best = min(best, (time.perf_counter() - start) / 200)
    assert best < 200e-6


def entered_elsewhere(box: Sandbox, owner: str) -> bool:
    """Whether an owner in a process that is forked now can enter."""
    child = os.fork()
    if child == 0:
        code = 9
        try:
            code = int(Exclusive(str(box.workspace.root), box.store, owner, 0)._taken(None))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


async def test_a_session_that_was_taken_over_enters_where_its_sleeping_owner_is_and_nobody_else_does(
    box: Sandbox,
) -> None:
    async with box.exclusive("a", 0):
        assert entered_elsewhere(box, "a")
        assert not entered_elsewhere(box, "b")
    async with box.exclusive("b", 0):
        assert not entered_elsewhere(box, "a")
