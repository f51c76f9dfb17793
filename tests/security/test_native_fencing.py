"""A worker that lost its session makes no sandbox for it any more, though it has not heard of its loss."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.running import until
from tests.sandboxing import Place, of, sandboxes

from holdfast.errors import SandboxError
from holdfast.sandbox.native.slots import Slots, fence, folder, kill_owners, unseal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")


@pytest.mark.requirement("sandbox:fenced-makes-no-sandbox")
async def test_who_lost_a_session_gets_no_sandbox_for_it_from_any_launcher(tmp_path: Path) -> None:
    owner = f"{tmp_path}é"
    async with sandboxes(tmp_path, owner=f"{owner}#4") as lost, sandboxes(tmp_path, owner=f"{owner}#5") as mine:
        assert await lost.says("echo before") == "before"
        await mine.backend.attach(owner, 5)
        for _ in range(2):
            with pytest.raises(SandboxError, match="another worker"):
                await lost.run("touch made")
        assert not (tmp_path / "made").exists()
        assert await mine.says("echo mine") == "mine"
        other = Place(lost.backend, tmp_path, f"{tmp_path}-other#1")
        assert await other.says("echo other") == "other"


@pytest.mark.requirement("sandbox:fenced-makes-no-sandbox")
async def test_a_sandbox_that_is_being_made_while_its_session_is_taken_over_does_nothing_afterwards(
    tmp_path: Path,
) -> None:
    async with sandboxes(tmp_path, owner="none#1") as lost, sandboxes(tmp_path, owner="none#1") as mine:
        for turn in range(8):
            owner = f"{tmp_path}/{turn}"
            going = asyncio.create_task(Place(lost.backend, tmp_path, f"{owner}#1").run("sleep 30"))
            await asyncio.sleep(0.002 * turn)
            await mine.backend.attach(owner, 2)
            with suppress(SandboxError):
                await asyncio.wait_for(going, 5)
            await until(lambda owner=owner: not of(owner), "it runs all the same")


@pytest.mark.requirement("sandbox:fenced-brings-nothing")
async def test_that_a_sandbox_was_ended_from_elsewhere_is_known_before_the_event_loop_hears_of_it(
    tmp_path: Path,
) -> None:
    owner = f"{tmp_path}"
    async with sandboxes(tmp_path, owner=f"{owner}#1") as lost:
        box = await lost.backend._make((str(tmp_path), owner, 1, ""))
        assert box.alive
        assert kill_owners(folder(), owner, 2) == 1
        assert box.open, "the event loop has not had its turn"
        assert not box.alive
        await box.gone
        assert not box.alive


@pytest.mark.requirement("sandbox:fenced-makes-no-sandbox")
def test_who_lost_which_session_is_forgotten_with_the_session(tmp_path: Path) -> None:
    where = str(tmp_path / "run" / "places")
    slots = Slots(where)
    for epoch in (3, 2):
        fence(where, "one", epoch)
    place = slots.take()
    slots.describe(place, {"owner": "one", "epoch": 3})
    with pytest.raises(OSError, match="another worker"):
        slots.describe(place, {"owner": "one", "epoch": 2})
    unseal(where, "one")
    unseal(where, "two")
    slots.describe(place, {"owner": "one", "epoch": 2})
    slots.give_back(place)


NEWCOMER = """
import sys
from holdfast.sandbox.native.slots import Slots
slots = Slots(sys.argv[1])
slots.describe(slots.take(), {"owner": "one", "epoch": 1})
"""


@pytest.mark.requirement("sandbox:fenced-makes-no-sandbox")
def test_a_runtime_that_starts_later_has_a_session_of_its_own_by_that_name(tmp_path: Path) -> None:
    where = str(tmp_path / "run" / "places")
    Slots(where)
    fence(where, "one", 3)
    command = [sys.executable, "-c", NEWCOMER, where]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert "another worker" in refused.stderr
    shell = ["sh", "-c", '"$@"; exit $?', "sh", *command]  # started after it, as a new runtime is
    assert subprocess.run(shell, timeout=30, check=False).returncode == 0
