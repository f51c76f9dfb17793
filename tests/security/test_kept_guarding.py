"""Processes that go on in native sandboxes: what they plant for programs outside, and what is left of starts."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from tests.running import soon, until
from tests.sandboxing import Place, sandboxes

from holdfast.sandbox.backends.process import ProcessSandboxes
from holdfast.sandbox.longrunning.process import Process
from holdfast.sandbox.native.boxes.box import Box
from holdfast.sandbox.native.lasting import boxed
from holdfast.sandbox.policy.profile import Pooling, Profile

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")

HOOK = ".git/hooks/pre-commit"
PLANT = "mkdir -p .git/hooks; echo evil >.git/hooks/pre-commit; echo up; "


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/config").write_text("[core]\n")
    return tmp_path


async def start(place: Place, command: str, name: str = "it") -> Process:
    process = await place.backend.start(command, name=name, folder=place.folder, env=place.env)
    await soon(process.ring.more(0), 20)
    return process


@pytest.mark.requirement("sandbox:kept-processes-guarded")
async def test_what_a_process_puts_where_programs_outside_obey_it_goes_while_it_runs(folder: Path) -> None:
    async with sandboxes(folder) as place:
        process = await start(place, f"{PLANT} exec sleep 60")
        await until(lambda: not (folder / HOOK).exists(), "the hook is still there", seconds=20)
        await until(lambda: "obey it: .git/hooks" in process.read().text)
        assert process.code is None


@pytest.mark.requirement("sandbox:kept-processes-guarded")
async def test_a_command_takes_away_what_a_process_had_put_there_before_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxed, "_LOOK", 600.0)
    async with sandboxes(folder) as place:
        process = await start(place, f"{PLANT} exec sleep 60")
        assert (folder / HOOK).exists()
        assert (await place.run("true")).taken == (".git/hooks",)
        assert not (folder / HOOK).exists() and process.code is None


@pytest.mark.requirement("sandbox:kept-processes-guarded")
async def test_what_one_process_put_there_does_not_count_as_there_before_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxed, "_LOOK", 600.0)
    async with sandboxes(folder) as place:
        first = await start(place, f"{PLANT} exec sleep 60")
        second = await start(place, "echo up; until [ -e go ]; do sleep 0.02; done; " + PLANT, "other")
        await first.stop()
        assert not (folder / HOOK).exists()
        (folder / "go").touch()
        assert await soon(second.wait(), 20) == 0
        assert not (folder / HOOK).exists()


@pytest.mark.requirement("sandbox:kept-processes-reached-or-said")
async def test_a_command_that_does_not_reach_a_process_says_so(folder: Path) -> None:
    async with sandboxes(folder) as place:
        await start(place, "touch /tmp/mark; echo up; exec sleep 60")
        there = await place.run("ls /tmp/mark")
        assert (there.code, there.elsewhere) == (0, ())
        (folder / "config").write_text("[user]\n")
        (folder / "config").rename(folder / ".git/config")  # as git does it
        other = await place.run("ls /tmp/mark")
        assert other.code == 2 and other.elsewhere == ("it",)


@pytest.mark.requirement("sandbox:kept-processes-reached-or-said")
async def test_one_shot_commands_do_not_reach_a_process_and_say_so(folder: Path) -> None:
    async with sandboxes(folder, Profile(pool=Pooling(reuse="never"))) as place:
        process = await start(place, "echo up; exec sleep 60")
        assert (await place.run("true")).elsewhere == ("it",)
        await process.stop()
        assert (await place.run("true")).elsewhere == ()


def commands(place: Place) -> list[object]:
    return [each for box in place.backend._launcher._boxes.values() for each in box._commands]


@pytest.mark.requirement("sandbox:nothing-left-of-a-cancelled-start")
async def test_a_start_that_is_cancelled_leaves_no_process(folder: Path) -> None:
    async with sandboxes(folder) as place:
        await place.run("true")
        starting = asyncio.create_task(start(place, "exec sleep 1301"))
        await until(lambda: bool(commands(place)))
        starting.cancel()
        await asyncio.wait((starting,))
        assert starting.cancelled()
        look = "for n in 1 2 3 4 5 6 7 8 9 10; do pgrep -fx 'sleep 1301' || exit 0; sleep 0.1; done; exit 1"
        assert (await place.run(look)).code == 0
        assert not place.backend.processes.of(str(folder))
        assert all(box.kept == 0 for box in place.backend._launcher._boxes.values())


@pytest.mark.requirement("sandbox:nothing-left-of-a-cancelled-start")
async def test_a_sandbox_is_given_back_where_there_is_no_room_for_a_pipe(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> object:
        raise OSError(24, "too many open files")

    async with sandboxes(folder) as place:
        await place.run("true")
        with monkeypatch.context() as patch, pytest.raises(OSError, match="too many"):
            patch.setattr(boxed, "Intake", full)
            await start(place, "true")
        [box] = place.backend.pool._idle._lying
        assert box.kept == 0


def terminals() -> int:
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found += "ptmx" in str(each.readlink())
    return found


@pytest.mark.requirement("sandbox:nothing-left-of-a-cancelled-start")
@pytest.mark.parametrize("late", [False, True], ids=["before it came", "as it came"])
async def test_a_terminal_of_a_start_that_is_cancelled_is_closed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    async def talk(_: int, ended: asyncio.Future[int]) -> None:
        await ended

    before = terminals()
    heard = Box.heard
    async with sandboxes(folder) as place:
        await place.run("true")
        asking = asyncio.create_task(place.backend.interact(["bash"], folder=folder, env=place.env, talk=talk))

        def hears(box: Box, message: dict[str, object], descriptors: list[int]) -> None:
            heard(box, message, descriptors)
            if late and "pid" in message:
                asking.cancel()

        monkeypatch.setattr(Box, "heard", hears)
        await until(lambda: bool(commands(place)))
        if not late:
            asking.cancel()
        await asyncio.wait((asking,))
        await place.run("true")
        assert asking.cancelled() and terminals() == before


@pytest.mark.requirement("sandbox:first-process-holds-no-workspace")
async def test_after_a_program_that_is_not_there_the_first_process_waits_outside_the_workspace(tmp_path: Path) -> None:
    env: Mapping[str, str] = {"PATH": os.defpath, "HOME": "/home/me", "HOLDFAST_OWNER": f"{tmp_path}#1"}
    backend = await ProcessSandboxes.open(Profile())
    try:
        ended = await backend.run(["no-such-program"], folder=tmp_path, env=env, timeout=20, keep=1000)
        assert ended.code == 127
        [box] = [each for each in backend._launcher._boxes.values() if each.open]
        assert os.readlink(f"/proc/{box.pid}/cwd") == "/"  # noqa: PTH115 - it tells at once
    finally:
        await backend.close()
