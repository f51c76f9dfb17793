"""Deliveries that were given up, and are tried again because somebody says so."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.running import MODEL, Scene, scene, soon
from tests.surfaces.commands import Shell

from holdfast import Agent, Runtime
from holdfast.errors import DeliveryError, DeliveryRefused, UsageError
from holdfast.runtime.delivering.outbox import ATTEMPTS
from holdfast.runtime.delivering.outgoing import Undelivered
from holdfast.runtime.delivering.port import Delivery, Promise
from holdfast.runtime.delivering.targets.function import FunctionTarget
from holdfast.testing.clock import FakeClock

AGENT = Agent(MODEL)


class Receiver:
    """Keeps the ids it is handed, and raises what it is told to: before it has taken a result, or after."""

    def __init__(self, *errors: Exception, asked: Exception | None = None, late: bool = False) -> None:
        self.errors = list(errors)
        self.asked = asked
        self.late = late
        self.taken: list[str] = []

    async def __call__(self, delivery: Delivery) -> None:
        error = self.errors.pop(0) if self.errors else None
        if error is None or self.late:
            self.taken.append(delivery.id)
        if error is not None:
            raise error

    async def has(self, id: str) -> bool:
        if (error := self.asked) is not None:
            self.asked = None
            raise error
        return id in self.taken

    def promising(self, promise: Promise) -> FunctionTarget:
        return FunctionTarget(self, promise, delivered=self.has if promise == "checkable" else None)


async def died(s: Scene, clock: FakeClock, *targets: str, session: str = "s") -> list[Undelivered]:
    """Runs, and returns the deliveries once all of them are dead."""
    await soon((await s.runtime.start(AGENT, "go", session=session, deliver=targets)).result())
    left = await s.runtime.flush_deliveries()
    while not all(each.dead for each in left):
        await clock.advance(3601)
        left = await s.runtime.flush_deliveries()
    return left


@pytest.mark.requirement("runtime:delivery-revived")
async def test_a_dead_delivery_is_revived_by_its_id_and_tried_as_often_as_a_new_one() -> None:
    clock, receiver = FakeClock(), Receiver(DeliveryRefused("closed"), *[DeliveryError("busy")] * (ATTEMPTS - 1))
    async with scene(["done"], clock=clock, targets={"t": receiver}) as s:
        (dead,) = await died(s, clock, "t")
        (left,) = await s.runtime.revive_deliveries(dead.id)
        assert (left.id, left.dead, left.attempts, left.error) == (dead.id, False, 1, "busy")
        while left := await s.runtime.flush_deliveries():
            assert not left[0].dead
            await clock.advance(3601)
    assert receiver.taken == [dead.id]


@pytest.mark.requirement("runtime:delivery-revived")
async def test_all_that_are_dead_are_revived_together_and_an_id_that_is_not_dead_is_refused() -> None:
    clock, receiver = FakeClock(), Receiver(*[DeliveryRefused("closed")] * 3)
    async with scene(["done"], clock=clock, targets={"t": receiver}) as s:
        await died(s, clock, "t", session="a")
        await died(s, clock, "t", session="b")
        dead = await died(s, clock, "t", session="c")
        assert len(dead) == 3
        with pytest.raises(UsageError, match="deliveries list"):
            await s.runtime.revive_deliveries(dead[0].id, "d-nobody's")
        assert await s.runtime.undelivered() == dead
        assert await s.runtime.revive_deliveries() == []
        assert await s.runtime.revive_deliveries() == []
    assert sorted(receiver.taken) == sorted(each.id for each in dead)


@pytest.mark.requirement("runtime:delivery-revived")
@pytest.mark.parametrize(("promise", "left"), [("checkable", 0), ("at-most-once", 1)])
async def test_what_may_have_arrived_is_not_sent_twice_when_it_is_revived(promise: Promise, left: int) -> None:
    clock, asked = FakeClock(), DeliveryRefused("no answer") if promise == "checkable" else None
    receiver = Receiver(DeliveryError("cut off"), asked=asked, late=True)
    async with scene(["done"], clock=clock, targets={"t": receiver.promising(promise)}) as s:
        (dead,) = await died(s, clock, "t")
        assert [each.dead for each in await s.runtime.revive_deliveries()] == [True] * left
    assert receiver.taken == [dead.id]


@pytest.mark.requirement("cli:deliveries")
async def test_the_command_lists_what_is_dead_and_revives_it(tmp_path: Path) -> None:
    sh, clock, receiver = Shell(tmp_path), FakeClock(), Receiver(DeliveryRefused("closed\x1b[2J"))
    (tmp_path / "data" / "holdfast").mkdir(parents=True)
    assert f"Nothing is undelivered in {sh.store}" in sh.run("deliveries", "list").stdout
    folder = tmp_path / "out"
    folder.write_text("in the way")
    async with scene(["done"], url=sh.store, clock=clock, targets={"t": receiver}) as s:
        dead = await died(s, clock, "t", f"file:{folder}")

    async def run(*arguments: str) -> str:
        return (await asyncio.to_thread(sh.run, "deliveries", *arguments)).stdout

    shown = await run("list", "--dead")
    assert "\x1b[2J" not in shown
    assert all(f"{each.id}  dead" in shown for each in dead)
    assert "2 results will not be tried again by itself: holdfast deliveries revive --all" in shown
    folder.unlink()
    mine, files = sorted(dead, key=lambda each: each.target, reverse=True)
    assert "1 result revived, 1 arrived" in await run("revive", files.id)
    assert json.loads((folder / files.id / "result.json").read_text())["id"] == files.id
    assert "1 result revived, 0 arrived" in await run("revive", "--all")
    (left,) = json.loads(await run("list", "-o", "json"))
    assert (left["id"], left["dead"], left["attempts"]) == (mine.id, False, 0)
    async with Runtime.open(sh.store, targets={"t": receiver}) as runtime:
        assert await soon(runtime.flush_deliveries()) == []
    assert receiver.taken == [mine.id]
    for wrong in (["revive"], ["revive", "--all", mine.id], ["revive", mine.id]):
        done = await asyncio.to_thread(sh.run, "deliveries", *wrong)
        assert (done.returncode, "deliveries list" in done.stderr) == (2, True)
