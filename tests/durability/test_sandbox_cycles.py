"""Sandboxes are made, used and killed at any instant, many times over; afterwards nothing of them is left.

`HOLDFAST_CAMPAIGN=1` makes it 2,000 times.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.running import until
from tests.sandboxing import Place, children, of

from holdfast.errors import SandboxError
from holdfast.sandbox.backends.native import NativeSandboxes
from holdfast.sandbox.kernel.cgroups import Groups
from holdfast.sandbox.native.slots import folder
from holdfast.sandbox.policy.profile import Profile, Quotas, Tree

CYCLES = 2000 if os.environ.get("HOLDFAST_CAMPAIGN") else 60
AT_ONCE = 4
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a number


def mounts() -> int:
    """Counts those that sandboxes are made of; others come and go meanwhile."""
    found = [each.split() for each in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sum(each[each.index("-") + 2] in ("sandbox", "memory", "layer") for each in found)


def kill_one_of(pid: int, chance: random.Random) -> None:
    """Kills a sandbox by its first process, and now and then what makes them."""
    victims = children(pid)
    with suppress(OSError, IndexError):
        os.kill(pid if chance.random() < 0.05 else chance.choice(victims), signal.SIGKILL)


COMMANDS = ("true", "echo x > made; setsid sleep 50 & sleep 0.02", "sleep 0.05", "head -c 100000 /dev/zero")


async def cycle(place: Place, number: int, chance: random.Random) -> None:
    """One command, and perhaps an end in the middle of it."""
    command = chance.choice(COMMANDS)
    going = asyncio.create_task(place.run(f"{command} # {number}", seconds=chance.choice((0.01, 5))))
    match chance.randrange(4):
        case 0:
            await asyncio.sleep(chance.random() * 0.03)
            going.cancel()
        case 1:
            await asyncio.sleep(chance.random() * 0.03)
            with suppress(OSError):
                kill_one_of(place.backend._launcher._process.pid, chance)
        case _:
            pass
    with suppress(asyncio.CancelledError, SandboxError):
        await asyncio.wait_for(going, 20)


@pytest.mark.requirement("sandbox:native-leaves-nothing")
async def test_after_many_sandboxes_that_were_killed_at_any_instant_nothing_is_left(tmp_path: Path) -> None:
    chance = random.Random(5)
    before = (descriptors(), mounts())
    layered = Profile(limits=Quotas(memory=256 << 20, pids=64, disk=8 << 20), workspace=Tree(apply="when-ended"))
    backends = [await NativeSandboxes.open(each) for each in (Profile(), layered)]
    try:
        for start in range(0, CYCLES, AT_ONCE):
            await asyncio.gather(
                *(
                    cycle(Place(chance.choice(backends), tmp_path, f"{tmp_path}#{number % 7}"), number, chance)
                    for number in range(start, min(start + AT_ONCE, CYCLES))
                )
            )
        used = [backend._launcher._process.pid for backend in backends]
    finally:
        for backend in backends:
            await backend.close()
    await until(lambda: not of(str(tmp_path)), "processes are left")
    await until(lambda: (descriptors(), mounts()) == before, f"descriptors or mounts are left: {before}")
    assert not alive(used)
    again = await NativeSandboxes.open(Profile())  # sweeps
    await again.close()
    assert [name for name in Groups().left() if name.isdigit() and is_free(name)] == [], "groups of nobody"


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def is_free(place: str) -> bool:
    try:
        with Path(folder(), place).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True
