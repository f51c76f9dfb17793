"""Many sandboxes at once, few places, and a launcher that is not the one that was judged."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.running import until
from tests.sandboxing import sandboxes

from holdfast.errors import IsolationMissing
from holdfast.sandbox.native import client, slots
from holdfast.sandbox.native.client import Launcher
from holdfast.sandbox.policy.profile import Profile

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")

FEW = """
import sys
sys.path.insert(0, sys.argv[2])
from holdfast.sandbox.native import launching, slots
slots.PLACES = 3
launching.SandboxLauncher.blanks = False
launching.main()
"""


@pytest.mark.requirement("sandbox:required-is-judged-again")
async def test_a_launcher_that_lacks_what_is_required_runs_nothing_however_often_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sandboxes(tmp_path, Profile()) as place:
        if "pids" not in place.backend._launcher.groups:
            pytest.skip("there are no control groups here")
        place.backend._profile = msgspec.structs.replace(place.backend._profile, require=("cgroup.pids",))
        real: Callable[..., object] = Launcher.start.__func__  # type: ignore[attr-defined]

        async def less(cls: type[Launcher], *given: str) -> Launcher:
            launcher: Launcher = await real(cls, *given)  # type: ignore[misc]
            launcher.groups, launcher.without = (), {"pids": "it is gone"}
            return launcher

        monkeypatch.setattr(Launcher, "start", classmethod(less))
        first = place.backend._launcher
        first._process.kill()
        await until(lambda: not first.open)
        for _ in range(3):
            with pytest.raises(IsolationMissing, match=r"cgroup\.pids"):
                await place.run("echo ran")


@pytest.mark.requirement("sandbox:places-are-shared")
async def test_where_every_place_is_taken_by_what_idles_one_of_those_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_CODE", FEW)
    monkeypatch.setattr(slots, "folder", lambda: str(tmp_path / "places"))
    async with sandboxes(tmp_path, Profile()) as place:
        for number in range(8):
            place.env["HOLDFAST_OWNER"] = f"{tmp_path}-{number}#1"
            assert await place.says("echo fine") == "fine"


@pytest.mark.requirement("sandbox:launcher-is-heard-in-turn")
async def test_hundreds_that_are_asked_for_while_the_launcher_sleeps_are_all_made(tmp_path: Path) -> None:
    async with sandboxes(tmp_path, Profile()) as place:
        await place.says("true")
        launcher = place.backend._launcher
        plan = place.backend._plan(tmp_path, "/home/me", ("crowd", 1), "")
        os.kill(launcher._process.pid, signal.SIGSTOP)
        making = [asyncio.create_task(launcher.make(dict(plan))) for _ in range(60)]
        for _ in range(200):  # what is larger than the socket's room
            launcher.say({"do": "nothing", "sandbox": 0, "filling": "x" * 20_000})
        await until(lambda: len(launcher._owed) > 100)
        os.kill(launcher._process.pid, signal.SIGCONT)
        boxes = await asyncio.gather(*making)
        assert len({box.pid for box in boxes}) == 60
        assert not launcher._owed


@pytest.mark.requirement("sandbox:fenced-makes-no-sandbox")
def test_seals_are_forgotten_after_a_week_and_stand_in_so_many_files_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = str(tmp_path / "places")
    now, week = slots._now(), 7 * 86_400 * os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(slots, "_now", lambda: now)
    for number in range(3000):
        slots.fence(where, f"owner-{number}", 5)
    files = list((tmp_path / "sealed").iterdir())
    assert len(files) <= 1024
    assert slots._sealed(where, "owner-7", 0) == 5
    monkeypatch.setattr(slots, "_now", lambda: now + week + 1)
    assert slots._sealed(where, "owner-7", 0) == 0
    slots.fence(where, "owner-7", 6)
    assert list(json.loads(Path(slots._seal_of(where, "owner-7")).read_text())) == ["owner-7"]


@pytest.mark.requirement("sandbox:fenced-makes-no-sandbox")
def test_a_seal_that_a_full_disk_cut_off_is_none_and_breaks_nothing(tmp_path: Path) -> None:
    where = str(tmp_path / "places")
    slots.fence(where, "mine", 5)
    Path(slots._seal_of(where, "mine")).write_text('{"mine": [5, 1')
    assert slots._sealed(where, "mine", 0) == 0
    slots.fence(where, "mine", 6)
    assert slots._sealed(where, "mine", 0) == 6
