"""A sandbox whose making fails, at whatever step, leaves nothing behind; judged from outside of it."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.running import until
from tests.sandboxing import Place, children, name_of, sandboxes

from holdfast.errors import SandboxError
from holdfast.sandbox.backends import native
from holdfast.sandbox.egress.proxy import Proxy
from holdfast.sandbox.kernel.cgroups import Groups
from holdfast.sandbox.native import client
from holdfast.sandbox.native.blanks import BLANK
from holdfast.sandbox.native.talking.channel import Channel
from holdfast.sandbox.policy.openshell import Binary, Endpoint, NetworkPolicy, Policy
from holdfast.sandbox.policy.profile import Pooling, Profile, Quotas

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's"),
    pytest.mark.skipif(os.geteuid() != 0, reason="some of the steps are root's alone"),
]

FAILING = """
import os, sys
sys.path.insert(0, sys.argv[2])
from importlib import import_module
from holdfast.sandbox.native import launching

made, failing = launching.SandboxLauncher._make, False

def make(self, *given):
    global failing
    failing = os.path.exists({flag!r})  # looked up here: inside there is no such path
    made(self, *given)

def break_(path):
    module, _, name = path.partition(":")
    owner, _, attribute = name.rpartition(".")
    holder = import_module(module)
    holder = getattr(holder, owner) if owner else holder
    right = getattr(holder, attribute)

    def wrong(*given, **named):
        if failing:
            raise OSError(5, "made to fail")
        return right(*given, **named)

    setattr(holder, attribute, wrong)

launching.SandboxLauncher._make = make
launching.SandboxLauncher.blanks = False  # so that each of them takes every step
break_({step!r})
launching.main()
"""
"""A launcher that is right in everything but one step, which fails as long as a file is there."""

HERE = "holdfast.sandbox.native"
KERNEL = "holdfast.sandbox.kernel"
STEPS = (
    *(f"{HERE}.slots:Slots.{name}" for name in ("admit", "take", "describe")),
    *(f"{KERNEL}.cgroups:{name}" for name in ("Groups.of", "Group.limit", "Group.join")),
    *(f"{HERE}.launching:{name}" for name in ("user_namespace", "start_of", "begin", "build")),
    f"{KERNEL}.syscalls:fork_into",
    *(f"{HERE}.building:_{name}" for name in ("copy", "place", "protect", "make_root", "become")),
    *(f"{KERNEL}.syscalls:{name}" for name in ("mount", "open_tree", "mount_attributes", "move_mount", "pivot_root")),
    *(f"{KERNEL}.syscalls:{name}" for name in ("umount", "set_host_name", "unshare", "drop_capabilities", "prctl")),
    *(
        f"{HERE}.building:map_ids",
        f"{HERE}.building:limit",
        f"{KERNEL}.landlock:build",
        f"{KERNEL}.landlock:restrict",
        f"{KERNEL}.seccomp:install",
    ),
)
LIMITED = Profile(limits=Quotas(sandboxes=50), pool=Pooling(reuse="never"))


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary folders go; nothing may be left of them."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


class Outside:
    """What can be seen of a launcher's sandboxes from outside."""

    def __init__(self, place: Place) -> None:
        self.pid = place.backend._launcher._process.pid

    def processes(self) -> list[int]:
        return children(self.pid)

    def sandboxes(self) -> list[int]:
        """Those processes that are not the one that waits for a sandbox."""
        return [each for each in children(self.pid) if name_of(each) != BLANK]

    def descriptors(self, part: str = "") -> int:
        return len(self._links(self.pid, part))

    def ours(self) -> int:
        return len(self._links(os.getpid(), ""))

    def groups(self) -> set[str]:
        return {each.rpartition("/")[2] for each in self._links(self.pid, "/places/")}

    def _links(self, pid: int, part: str) -> list[str]:
        found: list[str] = []
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if part in (target := str(each.readlink())):
                    found.append(target)
        return found


def mounts() -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "sandbox" in line]


@pytest.mark.requirement("sandbox:create-rolls-back")
@pytest.mark.parametrize("step", STEPS)
async def test_a_step_of_the_launcher_that_fails_leaves_nothing_behind(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    flag, work = tmp_path / "fail", tmp_path / "work"
    (work / ".git" / "hooks").mkdir(parents=True)
    monkeypatch.setattr(client, "_CODE", FAILING.format(flag=str(flag), step=step))
    before = mounts()
    async with sandboxes(work, LIMITED) as place:
        outside = Outside(place)
        # So that another place has to be taken.
        box = await place.backend.pool.take((str(work), f"{tmp_path}-other", 1, ""))
        flag.touch()
        left: list[tuple[int, int]] = []
        for _ in range(3):
            with pytest.raises(SandboxError):
                await place.run("true")
            await until(lambda: outside.processes() == [box.pid], "a process was left")
            await until(lambda: len(place.backend._launcher._boxes) == 1)
            assert outside.descriptors("/admitted/") == 1, "what was not made counts as a sandbox"
            left.append((outside.descriptors(), outside.ours()))
        await until(lambda: (outside.descriptors(), outside.ours()) <= left[1], "something more is left each time")
        assert outside.descriptors("/places/") <= 2, "a place was lost"
        assert mounts() == before
        flag.unlink()
        assert await place.says("echo fine") == "fine"
        assert box.open, "another sandbox was ended, too"
        places = outside.groups()
    assert not places & Groups().left()


@pytest.mark.requirement("sandbox:create-rolls-back")
@pytest.mark.parametrize("when", ["asked", "answered", "built"])
async def test_a_runtime_that_gives_up_while_one_is_made_leaves_nothing_behind(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    async with sandboxes(tmp_path, LIMITED) as place:
        outside = Outside(place)
        await until(lambda: not outside.sandboxes())
        with monkeypatch.context() as patching:
            task: list[asyncio.Task[Any]] = []

            def then_cancelled(right: Callable[..., None]) -> Callable[..., None]:
                def wrong(self: Any, *given: Any) -> None:
                    right(self, *given)
                    task[0].cancel()

                return wrong

            kind, name = {"asked": (Channel, "say"), "answered": (client.Launcher, "heard")}.get(
                when, (client.Box, "heard")
            )
            patching.setattr(kind, name, then_cancelled(getattr(kind, name)))
            task.append(asyncio.create_task(place.run("true")))
            with pytest.raises(asyncio.CancelledError):
                await task[0]
        await until(lambda: not outside.sandboxes(), "a process was left")
        await until(lambda: not outside.descriptors("/admitted/"), "what was not made counts as a sandbox")
        assert await place.says("echo fine") == "fine"
        await until(lambda: not place.backend._launcher._boxes)


@pytest.mark.requirement("sandbox:create-rolls-back")
@pytest.mark.parametrize("broken", ["plan", "say", "outlet"])
async def test_a_step_of_the_runtime_that_fails_leaves_nothing_behind(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    code = NetworkPolicy(
        endpoints=(Endpoint(host="api.example.com", port=443),), binaries=(Binary(path="/usr/bin/git"),)
    )
    profile = Profile(limits=Quotas(sandboxes=50), policy=Policy(version=1, network_policies={"code": code}))

    def fails(*_: object, **__: object) -> None:
        raise OSError(5, "made to fail")

    async with sandboxes(tmp_path, profile) as place:
        outside = Outside(place)
        await until(lambda: not outside.sandboxes())
        with monkeypatch.context() as patching:
            where = {"plan": (native, "plan_of"), "say": (client.Launcher, "say"), "outlet": (Proxy, "start")}
            patching.setattr(*where[broken], fails)
            left: list[int] = []
            for _ in range(3):
                with pytest.raises(SandboxError):
                    await place.run("true")
                if broken == "say":
                    break
                await until(lambda: not outside.sandboxes(), "a process was left")
                await until(lambda: not place.backend._launcher._boxes)
                left.append(outside.ours())
            assert len(set(left[1:])) <= 1, "something more is left open each time"
        assert await place.says("echo fine") == "fine"
