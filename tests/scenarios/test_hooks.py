"""What a program may bring along is optional, is told everything, and breaks nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, of, scene, seen, soon

from holdfast import Agent, Hooks, Limits, Price, Runtime, ToolContext, tool
from holdfast.engine.events import RunFinished
from holdfast.runtime.delivering.auditing import TRIES, Audited
from holdfast.runtime.delivering.events import AuditMissed, book_named
from holdfast.runtime.delivering.port import Delivery
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.faults import Hang
from holdfast.testing.scripts import Canned
from holdfast.types import Control, TenantId

BOOK = book_named(TenantId("local"), "audit")
HANGS = [False]
SUBSETS = tuple(itertools.product((False, True), repeat=7))


@tool(effect="none")
async def look(context: ToolContext) -> str:
    """Looks."""
    if HANGS[0]:
        await asyncio.Event().wait()
    await context.attach("seen.txt", "seen")
    return "seen"


@tool(effect="none")
async def crash() -> str:
    """Raises."""
    raise MemoryError("out of everything")


AGENT = Agent(MODEL, tools=[look, crash, "read"])
SCRIPT = [Turn(calls=[Call("look", {})]), Turn(text="done")]
EVERY = ("input.received", "run.started", "model.finished", "tool.started", "tool.finished", "run.finished")


@pytest.fixture(autouse=True)
def fresh() -> None:
    HANGS[0] = False


class Log:
    """An audit in memory."""

    def __init__(self, *failing: str) -> None:
        self.told: list[Audited] = []
        self.failing = failing

    async def __call__(self, audited: Audited) -> None:
        self.told.append(audited)
        if audited.event.type in self.failing:
            raise RuntimeError("the audit is ill")

    @property
    def kinds(self) -> list[str]:
        return [each.event.type for each in self.told]


@pytest.mark.requirement("runtime:audit-complete")
async def test_the_audit_is_told_every_event_in_order_and_the_delivery_hook_every_result() -> None:
    log, results = Log(), list[Delivery]()

    async def deliver(delivery: Delivery) -> None:
        results.append(delivery)

    async with scene(SCRIPT, hooks=Hooks(audit=log, delivery=deliver)) as s:
        for name in ("s", "t"):
            await soon((await s.runtime.start(AGENT, "go", session=name)).result())
        assert await s.runtime.flush_deliveries() == []
        for name in ("s", "t"):
            written = [event.id for event in await s.log(name)]
            assert [each.event.id for each in log.told if each.session == name] == written
    assert set(EVERY) <= set(log.kinds)
    assert sorted(each.session for each in results) == ["s", "t"]
    assert [[file.name for file in each.attachments] for each in results] == [["seen.txt"], ["seen.txt"]]


@pytest.mark.requirement("runtime:audit-complete")
async def test_what_happened_before_a_stop_is_told_after_it_and_nothing_is_missed(tmp_path: Path) -> None:
    url, before, after = f"sqlite:///{tmp_path}/s.db", Log("tool.started"), Log()
    HANGS[0] = True
    async with scene(SCRIPT, url=url, hooks=Hooks(audit=before)) as s:
        run = await s.runtime.start(AGENT, "go", session="s", key="k")
        await soon(seen(run, "tool.started"))
        await s.runtime._worker.close()
        assert s.runtime._outgoing._auditor is not None
        await s.runtime._outgoing._auditor.close(0)
        HANGS[0] = False
        async with Runtime.open(url, hooks=Hooks(audit=after)) as other:
            await soon((await other.resume("s", AGENT)).result())
            await other.flush_deliveries()
        written = [event.id for event in await s.log()]
    told = [each.event.id for each in (*before.told, *after.told)]
    assert set(told) == set(written)
    assert "run.finished" in after.kinds
    assert [each.event.id for each in after.told] == written[-len(after.told) :]  # in order, from where it was


@pytest.mark.requirement("runtime:audit-contained")
async def test_an_event_that_the_audit_will_not_take_is_told_a_few_times_and_then_written_down_as_missed() -> None:
    log, clock = Log("model.finished"), FakeClock()
    async with scene([Turn(text="done")], clock=clock, hooks=Hooks(audit=log)) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        for _ in range(2 * TRIES):
            await s.runtime.flush_deliveries()
            await clock.advance(20)
        kinds = [each.type for each in await s.runtime.journal.read(BOOK)]
    counts = Counter(log.kinds)
    assert result.status == "completed"
    assert counts == {"input.received": 1, "run.started": 1, "model.finished": TRIES, "run.finished": 1}
    assert kinds.count(AuditMissed.type) == 1


@pytest.mark.requirement("engine:every-port-absent")
@pytest.mark.parametrize("absent", SUBSETS)
async def test_a_run_works_with_any_subset_of_its_optional_parts_left_out(
    absent: tuple[bool, ...], tmp_path: Path
) -> None:
    audit, delivery, target, files, workspace, limits, control = (not each for each in absent)
    log, results, got = Log(), list[Delivery](), list[Delivery]()

    async def take(each: Delivery) -> None:
        results.append(each)

    async def get(each: Delivery) -> None:
        got.append(each)

    hooks = Hooks(audit=log if audit else None, delivery=take if delivery else None)
    options: dict[str, Any] = {}
    if target:
        options["deliver"] = ["t"]
    if files:
        options["files"] = [("a.txt", b"words")]
    if workspace:
        options["workspace"] = tmp_path
    if limits:
        options["limits"] = Limits(dollars=1, tokens=100_000)
    if control:
        options["control"] = Control(patience=60)
    prices = {MODEL: Price.per_million(1, 2)} if limits else None
    targets = {"t": get} if target else None
    async with scene(SCRIPT, prices=prices, targets=targets, hooks=hooks if audit or delivery else None) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s", **options)).result())
        assert await s.runtime.flush_deliveries() == []
    assert (result.status, result.output) == ("completed", "done")
    assert (len(results), len(got)) == (delivery, target)
    assert ("run.finished" in log.kinds) == audit


@pytest.mark.requirement("engine:kernel-always-returns")
@pytest.mark.parametrize(
    ("name", "script", "status"),
    [
        ("a tool raises", [Turn(calls=[Call("crash", {})]), Turn(text="done")], "completed"),
        ("no such tool", [Turn(calls=[Call("nothing", {})]), Turn(text="done")], "completed"),
        ("no such model", [Turn(raw=Canned(status=404, body='{"error": {"message": "no model"}}'))], "failed"),
        ("it is aborted", [Turn(text="x", fault=Hang())], "aborted"),
        ("its time is over", [Turn(text="x", fault=Hang())], "limited"),
    ],
)
async def test_whatever_fails_there_is_a_result_and_every_finaliser_has_run(
    name: str, script: list[Turn], status: str
) -> None:
    log, got = Log(*EVERY), list[Delivery]()  # an observer that raises at everything

    async def broken(_each: Delivery) -> None:
        raise SystemError("broken")

    async def get(each: Delivery) -> None:
        got.append(each)

    targets = {"broken": broken, "t": get}
    async with scene(script, targets=targets, hooks=Hooks(audit=log, delivery=broken)) as s:
        limits = Limits(seconds=0.2) if name == "its time is over" else None
        run = await s.runtime.start(AGENT, "go", session="s", deliver=["broken", "t"], limits=limits)
        if status == "aborted":
            await soon(seen(run, "run.started"))
            await run.abort("enough")
        result = await soon(run.result())
        left = await s.runtime.flush_deliveries()
        (end,) = of(RunFinished, await s.log())
    assert result.status == end.status == status
    assert [each.status for each in got] == [status]
    assert {each.target for each in left} == {"broken", "hook:delivery"}
    assert log.told
