"""Runtimes that make sandboxes are killed at any instant; nothing of theirs is left once the next one has started.

`HOLDFAST_CAMPAIGN=1` kills two hundred of them, in the middle of 2,000 sandboxes.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from tests.durability.test_sandbox_cycles import cycle, is_free
from tests.running import until
from tests.sandboxing import Place, children, of

from holdfast.sandbox.backends.native import NativeSandboxes
from holdfast.sandbox.kernel.cgroups import Groups
from holdfast.sandbox.native.slots import FIRST_UID, folder
from holdfast.sandbox.policy.profile import Profile, Quotas, Tree

RUNTIMES = 200 if os.environ.get("HOLDFAST_CAMPAIGN") else 3
AT_ONCE = 3
PROFILES = (Profile(), Profile(limits=Quotas(disk=8 << 20), workspace=Tree(apply="when-ended")))
_CODE = "import sys; from tests.durability.test_killed_runtimes import go; go(sys.argv[1], int(sys.argv[2]))"
_KINDS = ("user", "pid", "net", "ipc", "uts")
"""Not `mnt`: to hold one would hold what is mounted in it."""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")


def go(workspace: str, seed: int) -> None:
    """Is a runtime that makes, uses and kills sandboxes until it is killed itself."""
    asyncio.run(_going(Path(workspace), seed))


async def _going(workspace: Path, seed: int) -> None:
    chance, number = random.Random(seed), 0
    print("opening", flush=True)
    backend = await NativeSandboxes.open(PROFILES[seed % 2])
    while True:
        owner = f"{workspace}#{seed}"
        await asyncio.gather(*(cycle(Place(backend, workspace, owner), number + n, chance) for n in range(AT_ONCE)))
        number += AT_ONCE
        print(number, flush=True)


class Seen:
    """What the sandboxes of killed runtimes had."""

    def __init__(self) -> None:
        self.pids: set[int] = set()
        self.namespaces: dict[str, int] = {}
        """By their numbers, each held by a descriptor: the kernel gives the number of one that is gone to the next."""
        self.users: set[int] = set()

    def look(self, runtime: int) -> None:
        """Notes what one has now; what comes and goes meanwhile is not seen."""
        with suppress(OSError):
            for launcher in children(runtime):
                self.pids.add(launcher)
                for first in children(launcher):
                    self.pids.add(first)
                    self.hold(first)
                    self.users.add(Path(f"/proc/{first}").stat().st_uid)
                    with suppress(OSError):
                        self.users |= {Path(f"/proc/{each}").stat().st_uid for each in children(first)}

    def hold(self, pid: int) -> None:
        """Notes the namespaces of a process that are not ours."""
        for kind in _KINDS:
            held = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
            name = os.readlink(f"/proc/self/fd/{held}")  # noqa: PTH115 - a name, no path
            if name in self.namespaces or name in namespaces_of(os.getpid()):
                os.close(held)
            else:
                self.namespaces[name] = held

    def let_go(self) -> None:
        while self.namespaces:
            os.close(self.namespaces.popitem()[1])


def namespaces_of(pid: int | str) -> set[str]:
    return {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in _KINDS}  # noqa: PTH115 - a name, no path


def everybody() -> tuple[set[str], set[int]]:
    """Returns all namespaces and users of the machine that have a process."""
    namespaces: set[str] = set()
    users: set[int] = set()
    for each in os.listdir("/proc"):  # noqa: PTH208 - names
        with suppress(OSError):
            if each.isdigit():
                users.add(Path("/proc", each).stat().st_uid)
                namespaces |= namespaces_of(each)
    return namespaces, users


@pytest.mark.requirement("sandbox:native-leaves-nothing", "sandbox:start-cleans-up")
async def test_of_runtimes_that_are_killed_at_any_instant_the_next_start_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    chance, seen = random.Random(7), Seen()
    workspace, temporary = tmp_path / "workspace", tmp_path / "temporary"
    for each in (workspace, temporary):
        each.mkdir()
    (temporary / "holdfast-try-killed").mkdir()  # of one that was killed as it looked what works here
    made = 0
    request.addfinalizer(seen.let_go)
    for seed in range(RUNTIMES):
        made += await asyncio.to_thread(killed_once, workspace, temporary, seed, chance, seen)
    assert made, "none came so far that it made one"
    await until(lambda: not [pid for pid in seen.pids if lives(pid)], "launchers or sandboxes are left")
    await until(lambda: not of(str(workspace)), "processes are left")
    for each in temporary.iterdir():
        os.utime(each, (1, 1))  # a while passes
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    again = await NativeSandboxes.open(Profile())  # sweeps
    await again.close()
    assert mounts_of(tmp_path) == []
    assert [each for each in temporary.iterdir() if not is_of_the_interpreter(each)] == []
    namespaces, users = everybody()
    assert seen.namespaces.keys() & namespaces == set()
    assert {each for each in seen.users & users if each >= FIRST_UID and is_free(str(each - FIRST_UID))} == set()
    assert [name for name in Groups().left() if name.isdigit() and is_free(name)] == [], "groups of nobody"
    assert places_of(workspace) == [], "places of the dead"


def is_of_the_interpreter(path: Path) -> bool:
    """Whether it is what Python itself writes, without a name to know it by, to see whether a folder can be written."""
    return len(path.name) == 8 and path.is_file() and path.read_bytes() in (b"", b"blat")


def mounts_of(folder: Path) -> list[str]:
    """Returns the mounts of the machine that are ours: others come and go meanwhile."""
    found = [each.split() for each in Path("/proc/self/mountinfo").read_text().splitlines()]
    ours = ("sandbox", "memory", "layer")
    return [each[4] for each in found if str(folder) in each[4] or each[each.index("-") + 2] in ours]


def places_of(workspace: Path) -> list[str]:
    """Returns the places that are still said to be those of sandboxes for it."""
    found: list[str] = []
    for each in Path(folder()).iterdir():
        with suppress(OSError):
            found += [each.name] if str(workspace) in each.read_text() else []
    return found


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def killed_once(workspace: Path, temporary: Path, seed: int, chance: random.Random, seen: Seen) -> int:
    """Starts a runtime, kills it at some instant, and returns how many commands it had run."""
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", _CODE, str(workspace), str(seed)], stdout=subprocess.PIPE, text=True, env=environment
    ) as runtime:
        assert runtime.stdout is not None
        told = runtime.stdout.readline()
        rounds = chance.choice((0, 1, 3)) if seed else 1
        while rounds and told:
            told = runtime.stdout.readline()
            seen.look(runtime.pid)
            rounds -= 1
        with suppress(subprocess.TimeoutExpired):
            runtime.wait(chance.random() * 0.15)
        seen.look(runtime.pid)
        runtime.send_signal(signal.SIGKILL)
    return int(told) if told.strip().isdigit() else 0
