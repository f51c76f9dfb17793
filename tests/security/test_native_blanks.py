"""The next first process is there before a sandbox is asked for, and is nobody's until then."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from tests.running import until
from tests.sandboxing import Place, children, name_of, sandboxes

from holdfast.sandbox.kernel import syscalls
from holdfast.sandbox.native.blanks import BLANK

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")


def waiting(place: Place) -> set[int]:
    """Returns what waits to become a sandbox."""
    launcher = place.backend._launcher._process.pid
    return {each for each in children(launcher) if name_of(each) == BLANK}


async def blank(place: Place) -> int:
    """Waits until one waits, and returns it."""
    await until(lambda: len(waiting(place)) == 1)
    return next(iter(waiting(place)))


def opened(pid: int) -> dict[str, str]:
    return {each.name: str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}


@pytest.mark.requirement("sandbox:native-blanks")
async def test_the_next_sandbox_is_what_waited_and_another_one_waits_then(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        await place.says("true")
        first = await blank(place)
        box = await place.backend.pool.take((str(tmp_path), "another", 1, ""))
        assert box.pid == first
        assert await blank(place) != first


@pytest.mark.requirement("sandbox:native-blanks", "sandbox:native-mounts-of-now")
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting is root's")
async def test_what_was_mounted_while_it_waited_is_in_the_sandbox(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        await place.says("true")
        await blank(place)
        folder = tmp_path / "mounted"
        folder.mkdir()
        (folder / "file").write_text("below")
        syscalls.mount("disk", str(folder), "tmpfs")
        try:
            (folder / "file").write_text("above")
            place.folder = folder
            assert await place.says("cat file; echo written > file") == "above"
            assert (folder / "file").read_text() == "written\n"
        finally:
            syscalls.umount(str(folder))
        assert (folder / "file").read_text() == "below"


@pytest.mark.requirement("sandbox:native-blanks")
async def test_what_waits_has_nothing_open_that_others_have(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        await place.says("true")
        pid = await blank(place)
        await until(lambda: sorted(opened(pid)) == ["0", "1", "2", "3"])  # the file of its name may just be closing
        links = opened(pid)
        assert {links[each] for each in "012"} == {"/dev/null"}


@pytest.mark.requirement("sandbox:native-blanks")
async def test_whoever_kills_what_waits_hinders_nobody(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        await place.says("true")
        pid = await blank(place)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: pid not in waiting(place))
        await place.backend.pool.take((str(tmp_path), "another", 1, ""))
        await place.backend.pool.take((str(tmp_path), "a third", 1, ""))
        assert await place.says("echo fine") == "fine"
        assert await blank(place) != pid


@pytest.mark.requirement("sandbox:native-blanks")
async def test_many_at_once_do_not_wait_for_it_and_none_is_left_after_all(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        await place.says("true")
        boxes = [await place.backend.pool.take((str(tmp_path), str(number), 1, "")) for number in range(8)]
        assert len({box.pid for box in boxes}) == 8
        last = await blank(place)
        launcher = place.backend._launcher._process.pid
        assert children(launcher)
    await until(lambda: not Path(f"/proc/{last}").exists(), "what waited outlived its launcher")


@pytest.mark.requirement("sandbox:native-blanks")
async def test_what_waits_ends_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as place:
        await place.says("true")
        pid = await blank(place)
        os.kill(place.backend._launcher._process.pid, signal.SIGKILL)
        await until(lambda: not Path(f"/proc/{pid}").exists(), "what waited outlived its launcher")
