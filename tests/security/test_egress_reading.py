"""Reading the programs that ask for connections takes little of everybody's time, whatever they are."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.sandboxing import sandboxes

from holdfast.sandbox.egress import identity
from holdfast.sandbox.egress.identity import Identity, Unidentified
from holdfast.sandbox.kernel.cgroups import Groups
from holdfast.sandbox.native.slots import Slots

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")
REAL = Path("/sys/fs/cgroup/memory/holdfast")
OURSELVES = Path("/proc/self/exe").resolve()


class Busy(ThreadPoolExecutor):
    """Threads that others keep busy."""

    def submit(self, *_given: Any, **_named: Any) -> Future[Any]:
        return Future()


@pytest.mark.requirement("sandbox:programs-read-within-bounds")
async def test_a_program_is_read_once_for_all_its_connections_and_beside_the_work_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []
    right = identity._digest_of  # pyright: ignore[reportPrivateUsage]

    def digest(descriptor: int) -> str:
        read.append(threading.current_thread().name)
        return right(descriptor)

    monkeypatch.setattr(identity, "_digest_of", digest)
    asyncio.get_running_loop().set_default_executor(Busy())
    known = Identity(lambda: {os.getpid()})
    ours, theirs = socket.socketpair()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with ours, theirs:
        async with asyncio.timeout(30):
            found = await asyncio.gather(*(known.of(ours) for _ in range(50)))
    assert {each[0].binaries[0] for each in found} == {str(OURSELVES)}
    assert len(read) == 1
    assert read[0].startswith("holdfast-programs")
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


@pytest.mark.requirement("sandbox:programs-read-within-bounds")
async def test_programs_are_read_up_to_so_many_bytes_for_one_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    size = OURSELVES.stat().st_size
    with ours, theirs:
        monkeypatch.setattr(identity, "_BUDGET", size)
        known = Identity(lambda: {os.getpid()})
        assert (await known.of(ours))[0].pid == os.getpid()
        assert (await known.of(ours))[0].pid == os.getpid()  # which is known by now
        monkeypatch.setattr(identity, "_BUDGET", size - 1)
        with pytest.raises(Unidentified, match="too large, or one too many"):
            await Identity(lambda: {os.getpid()}).of(ours)


@pytest.mark.requirement("sandbox:programs-read-within-bounds")
async def test_a_reading_that_nobody_waits_for_any_more_reads_no_file_of_anybody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    goes, right, read = threading.Event(), identity._digest_of, []  # pyright: ignore[reportPrivateUsage]

    def digest(descriptor: int) -> str:
        goes.wait(20)
        read.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        return right(descriptor)

    monkeypatch.setattr(identity, "_digest_of", digest)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        asking = asyncio.create_task(Identity(lambda: {os.getpid()}).of(ours))
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        goes.set()
        async with asyncio.timeout(20):
            while not read:  # noqa: ASYNC110 - a thread does it
                await asyncio.sleep(0.01)
    assert read == [str(OURSELVES)]


@pytest.mark.requirement("sandbox:tries-leave-nothing")
def test_a_group_with_which_a_killed_launcher_tried_is_gone_after_the_next_start(tmp_path: Path) -> None:
    root = tmp_path / "groups"
    found = Groups(str(root))
    left = [root / kind / "holdfast" / "probe-999999" for kind in found.kinds]
    for each in left:
        each.mkdir()
    (root / "memory" / "holdfast" / "17").mkdir()
    assert found.left() == {"17"}
    assert not any(each.exists() for each in left)


@pytest.mark.requirement("sandbox:tries-leave-nothing")
@pytest.mark.skipif(not (REAL.is_dir() and os.access(REAL, os.W_OK)), reason="takes control groups")
async def test_the_next_start_puts_such_a_group_away(tmp_path: Path) -> None:
    os.mkdir(left := f"{REAL}/probe-999999")  # noqa: PTH102
    async with sandboxes(tmp_path):
        assert "probe-999999" not in os.listdir(REAL), left  # noqa: PTH208


@pytest.mark.requirement("sandbox:tries-leave-nothing")
@pytest.mark.parametrize("made", ["file", "link", "open"])
def test_where_the_folder_of_places_is_not_ours_alone_it_is_said_what_to_do(tmp_path: Path, made: str) -> None:
    place = tmp_path / "holdfast"
    if made == "file":
        place.touch()
    elif made == "link":
        place.symlink_to(tmp_path / "nowhere")
    else:
        place.mkdir(mode=0o777)
        place.chmod(0o777)
    with pytest.raises(PermissionError, match="set XDG_RUNTIME_DIR to a folder that only you can write"):
        Slots(f"{place}/places")
