"""Commands without namespaces that will not end: what reaches their first process, and what is left without it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest
from tests.confining import HOMES, Place, confined, is_there, python
from tests.running import until
from tests.sandboxing import children

from holdfast.sandbox.backends.process import ProcessSandboxes
from holdfast.sandbox.confining.homes import Homes
from holdfast.sandbox.kernel import landlock
from holdfast.sandbox.policy.profile import Profile, Quotas

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(landlock.abi() < 6, reason="takes Landlock with ABI 6")


@pytest.mark.requirement("sandbox:process-refuses-the-way-out")
async def test_a_command_can_neither_stop_nor_end_its_first_process_whatever_way_it_sends_signals(
    tmp_path: Path,
) -> None:
    code = """
        import fcntl, os, signal
        first, group = os.getppid(), os.getpgid(os.getppid())
        for do in (
            lambda: os.kill(first, signal.SIGSTOP),
            lambda: os.kill(first, signal.SIGKILL),
            lambda: os.kill(-group, signal.SIGSTOP),
            lambda: signal.pidfd_send_signal(os.pidfd_open(first), signal.SIGSTOP),
        ):
            try:
                do()
            except (PermissionError, ProcessLookupError):
                print("refused")
        os.kill(-1, signal.SIGSTOP)  # the kernel does not say that it reached nobody
        reading, writing = os.pipe()
        fcntl.fcntl(reading, fcntl.F_SETOWN, first)
        fcntl.fcntl(reading, 10, signal.SIGSTOP)  # F_SETSIG
        fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        os.write(writing, b"x")
        fcntl.fcntl(reading, fcntl.F_SETFL, os.O_NONBLOCK)
    """
    async with confined(tmp_path) as place:
        assert (await place.says(python(code))).split() == ["refused"] * 4
        assert await place.says("sleep 30 & sleep 30 & kill $! && wait $!; [ $? = 143 ] && echo on") == "on"
        assert await place.says("echo on") == "on"


@pytest.mark.requirement("sandbox:process-leaves-nothing")
async def test_what_multiplies_when_its_first_process_is_killed_ends_and_others_are_served_meanwhile(
    tmp_path: Path,
) -> None:
    folders = [tmp_path / each for each in ("bomb", "calm")]
    for each in folders:
        each.mkdir()
    # Each starts two and ends, until there is no room; so its parent is whoever inherits it, in ever new processes.
    bomb = "f() { [ -e stop ] || { f & f & } ; }; (setsid env -i sleep 99 &); touch x; echo $PPID > first; f; sleep 99"
    backend = await ProcessSandboxes.open(Profile(limits=Quotas(pids=150)))
    try:
        going, calm = (Place(backend, each, f"{each}#1") for each in folders)
        assert await calm.says("echo on") == "on"
        bombed = asyncio.create_task(going.run(f"exec 2>/dev/null; {bomb}", seconds=60))
        await until(lambda: is_there(folders[0] / "first") and (folders[0] / "first").read_text() != "")
        os.kill(int((folders[0] / "first").read_text()), signal.SIGKILL)
        assert await calm.says("echo on") == "on"
        assert (await asyncio.wait_for(bombed, 20)).code == 128 + signal.SIGKILL
        await until(lambda: not {"bash", "sleep"} & below(os.getpid()), seconds=30)
        assert await going.says("echo on") == "on"
    finally:
        (folders[0] / "stop").touch()
        await backend.close()


def below(pid: int) -> set[str]:
    """Returns the names of the processes below this one's children."""
    found: set[str] = set()
    for child in children(pid):
        for each in children(child):
            with suppress(OSError):
                found.add(Path(f"/proc/{each}/comm").read_text().strip())
    return found


@pytest.mark.requirement("sandbox:process-leaves-nothing")
async def test_what_is_left_ends_however_many_others_are_spared() -> None:
    code = f"""
        import os, signal, sys
        sys.path.insert(0, {str(ROOT / "src")!r})
        from holdfast.sandbox.confining.ending import Children
        ours = Children()
        def idle():
            if (pid := os.fork()) == 0:
                signal.pause()
            return pid
        many = [idle() for _ in range(900)]  # their numbers take more than a page
        ours.end(set(many[:-1]))
        print(all(os.path.exists(f"/proc/{{each}}") for each in many[:-1]), os.path.exists(f"/proc/{{many[-1]}}"))
        ours.end()
        print(open(f"/proc/self/task/{{os.getpid()}}/children").read())
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "True False\n\n", done.stderr


@pytest.mark.requirement("sandbox:process-leaves-nothing")
def test_a_folder_in_use_stays_wherever_another_launcher_keeps_its_places(tmp_path: Path) -> None:
    homes = Homes()
    used = Path(homes.make(0, os.getuid(), os.getgid()))
    left, more = HOMES / "1.left", HOMES / "2.left"
    for each in (left, more):
        (each / "deep").mkdir(parents=True)
    other = Homes()  # no place is held by anybody here
    assert len(other.removing) == 1  # for all of them
    other.collect(0)
    assert (used.exists(), left.exists(), more.exists()) == (True, False, False)
    homes.remove(str(used))
    homes.collect(0)
    assert not used.exists()


@pytest.mark.requirement("sandbox:process-leaves-nothing")
def test_a_folder_that_cannot_be_made_is_not_left_and_no_removal_that_fails_ends_its_launcher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    homes = Homes()
    before = set(HOMES.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(os, "chown", refusing)
        with pytest.raises(BlockingIOError):
            homes.make(0, os.getuid(), os.getgid())
    homes.collect(0)
    assert set(HOMES.iterdir()) <= before
    used = homes.make(0, os.getuid(), os.getgid())
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_spawn", refusing)
        homes.remove(used)
    Homes().collect(0)
    assert not is_there(used)


def refusing(*_: object, **__: object) -> None:
    raise BlockingIOError(11, "not now")
