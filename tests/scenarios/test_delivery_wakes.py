"""Outboxes of several processes on one store: what one leaves to another is heard of there, and nobody has to ask."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.running import MODEL, Wrapped, scene, soon, until

from holdfast import Agent, Runtime, tool
from holdfast.errors import StorageLocked
from holdfast.journal.owning import Pen
from holdfast.journal.port import Head, Journal, Park
from holdfast.runtime.delivering import projecting
from holdfast.runtime.delivering.events import BOOKS, RunEnded, Seen, book_named
from holdfast.runtime.delivering.port import Delivery
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import StreamId, TenantId, WorkerId, stream_id

RACES = int(os.environ.get("HOLDFAST_DELIVERY_RACES", "80"))
"""Times that one process writes down a result for another while it delivers one of its own."""
PAIRS = 8
"""Of processes at once, each with an outbox of its own in the one store."""
BOOK = book_named(TenantId("local"), "outbox")
PLAIN = Agent(MODEL)


class Gate:
    """Where somebody stops until they are let on."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def __call__(self, _delivery: Delivery | None = None) -> None:
        self.reached.set()
        await self.opened.wait()


GATE: list[Gate] = []


@tool(effect="none", name="hold")
async def hold() -> str:
    """Holds."""
    await GATE[0]()
    return "held"


HOLDER = Agent(MODEL, tools=[hold])


def _model(request: ScriptRequest) -> Turn | str:
    return Turn(calls=[Call("hold")]) if request.last_user_text == "hold" and not request.answers else "done"


@pytest.mark.requirement("runtime:delivery-no-lost-wake-up")
async def test_a_process_hears_of_what_another_one_leaves_to_it_while_that_delivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projecting, "_AGAIN", 0.05)
    GATE[:] = [Gate()]
    slow, taken = Gate(), list[str]()

    async def target(delivery: Delivery) -> None:
        taken.append(delivery.output)

    async with (
        scene(_model, url=f"sqlite:///{tmp_path}/s.db") as s,
        Runtime.open(s.url, targets={"t": target}) as one,
        Runtime.open(s.url, targets={"slow": slow}) as other,
    ):
        heard = one._outgoing._deliverer
        await soon((await other.start(PLAIN, "go", session="x", deliver=["slow"])).result())
        await soon(slow.reached.wait())
        head = await s.runtime.journal.head(BOOK)
        assert head is not None
        await until(lambda: heard.outbox.seq >= head.seq and heard._task is None)  # which it delivers under
        await other.start(HOLDER, "hold", session="y")
        await soon(GATE[0].reached.wait())
        run = await one.start(PLAIN, "again", session="y", deliver=["t"])
        GATE[0].opened.set()
        assert (await soon(run.result())).output == "done"
        slow.opened.set()
        await until(lambda: len(taken) == 1)
        assert await one.undelivered() == []


class Looking(Wrapped):
    """A journal in which somebody writes into the book while its head is being read."""

    meanwhile: list[Callable[[], Awaitable[None]]]
    refuses = 0

    async def head(self, stream: StreamId) -> Head | None:
        if stream == BOOK and Looking.refuses:
            Looking.refuses -= 1
            raise StorageLocked("somebody holds it")
        head: Head | None = await self.inner.head(stream)
        if stream == BOOK and Looking.meanwhile:
            await Looking.meanwhile.pop()()
            await asyncio.sleep(0)  # so that the hint is there
        return head


async def _book(journal: Journal) -> Pen:
    """Returns the pen of another process that delivers."""
    return Pen(journal, await journal.claim(BOOK, WorkerId("other"), 60_000_000), BOOKS, FakeClock(), lambda _: None)


@pytest.mark.requirement("runtime:delivery-no-lost-wake-up")
@pytest.mark.parametrize("trouble", ["a hint", "a refusal"])
async def test_a_hint_that_comes_during_a_look_or_is_not_looked_at_is_not_lost(
    trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projecting, "_AGAIN", 0.01)
    tries: list[str] = []

    async def target(delivery: Delivery) -> None:
        tries.append(delivery.id)

    Looking.meanwhile, Looking.refuses = [], 0
    async with scene(["done"], wrap=Looking, targets={"t": target}) as s:
        deliverer = s.runtime._outgoing._deliverer
        await soon((await s.runtime.start(PLAIN, "go", session="s")).result())
        await until(lambda: deliverer._task is None and not s.runtime._worker._live)
        began = (await s.log())[1]
        pen = await _book(s.runtime.journal)

        async def leaves() -> None:
            pen.write(RunEnded(stream_id("local", "s"), began.seq, began.id, began.seq + 2, ("t",)))
            assert await pen.park(Park("waiting"))

        if trouble == "a hint":
            pen.write(Seen(1))
            await pen.sync()
            await until(lambda: deliverer.outbox.seq == 1 and deliverer._task is None)
            Looking.meanwhile = [leaves]
            s.runtime._outgoing._heard()  # hints may be spurious
        else:
            Looking.refuses = 2
            await leaves()
        await until(lambda: len(tries) == 1)


@pytest.mark.requirement("runtime:delivery-no-lost-wake-up")
async def test_a_process_does_not_look_again_for_what_it_wrote_itself(tmp_path: Path) -> None:
    taken: list[str] = []

    async def target(delivery: Delivery) -> None:
        taken.append(delivery.output)

    async with scene(["done"], url=f"sqlite:///{tmp_path}/s.db", targets={"t": target}) as s:
        await soon((await s.runtime.start(PLAIN, "go", session="s", deliver=["t"])).result())
        assert await s.runtime.flush_deliveries() == []
        deliverer = s.runtime._outgoing._deliverer
        await until(lambda: deliverer._task is None)
        await deliverer.heard()
        assert (deliverer._task, taken) == (None, ["done"])


class _Side:
    """One of two processes, with a target that nobody else has."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.taken: list[str] = []

    async def __call__(self, delivery: Delivery) -> None:
        await asyncio.sleep(self.random.random() * 0.25)  # for as long its process keeps the outbox to itself
        self.taken.append(delivery.session)


@pytest.mark.requirement("runtime:delivery-no-lost-wake-up")
async def test_whatever_two_processes_leave_to_each_other_arrives_and_nobody_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projecting, "_AGAIN", 0.05)
    seed = os.environ.get("HOLDFAST_SEED", str(random.SystemRandom().randrange(1 << 32)))
    chance = random.Random(seed)

    def model(_request: ScriptRequest) -> Turn:
        return Turn(text="done", delay=chance.random() * 0.15)

    async with scene(model, url=f"sqlite:///{tmp_path}/s.db", seconds=60 + RACES) as s:
        pairs = (_race(s.url, f"t{number}", f"{seed}/{number}", RACES // PAIRS) for number in range(PAIRS))
        stuck = await asyncio.gather(*pairs)
    assert stuck == [[]] * PAIRS, f"HOLDFAST_SEED={seed}"


async def _race(url: str, tenant: str, seed: str, rounds: int) -> list[str]:
    """Returns what did not arrive within ten seconds: hints come within a fraction of one."""
    near, far = _Side(f"{seed} near"), _Side(f"{seed} far")
    async with (
        Runtime.open(url, tenant=tenant, targets={"near": near}) as one,
        Runtime.open(url, tenant=tenant, targets={"far": far}) as two,
    ):
        for number in range(rounds):
            # Two delivers one result, and meanwhile drives, and writes down, what only one can deliver.
            await two.start(PLAIN, "go", session=f"far{number}", deliver=["far"])
            await two.start(PLAIN, "go", session=f"near{number}")
            await one.start(PLAIN, "and now?", session=f"near{number}", deliver=["near"])
            try:
                await asyncio.wait_for(_arrived(near, far, number), 10)
            except TimeoutError:
                return [f"{tenant}: round {number}"]
    return []


async def _arrived(near: _Side, far: _Side, number: int) -> None:
    while f"near{number}" not in near.taken or f"far{number}" not in far.taken:  # noqa: ASYNC110 - of two runtimes
        await asyncio.sleep(0.005)
