"""Targets, hooks and sessions that are broken: nothing of theirs stops what is delivered to others."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, scene, soon, until

from holdfast import Agent, Runtime, tool
from holdfast.engine.events import InputReceived
from holdfast.errors import Corrupt
from holdfast.runtime.delivering.auditing import TRIES, Audited
from holdfast.runtime.delivering.events import AuditMissed
from holdfast.runtime.delivering.hooks import Hooks
from holdfast.runtime.delivering.port import Delivery
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import StreamId, TenantId, stream_id

AGENT = Agent(MODEL)
LARGE = "x" * 60_000


class Bad:
    """A target of somebody who did not read the port."""

    promise: Any = "checkable"
    settles = 0.0

    async def deliver(self, delivery: Delivery) -> None:
        raise ConnectionError("lost")

    async def delivered(self, id: str) -> bool:
        return False

    async def close(self) -> None:
        pass


class Plain(Bad):
    def deliver(self, delivery: Delivery) -> Any:
        raise ValueError("at once")


class Nothing(Bad):
    def deliver(self, delivery: Delivery) -> Any:
        return None


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Wordless(Bad):
    async def deliver(self, delivery: Delivery) -> None:
        raise Speechless


class Cancelling(Bad):
    async def delivered(self, id: str) -> bool:
        raise asyncio.CancelledError


class Endless(Bad):
    settles = float("inf")


class Numberless(Bad):
    settles = float("nan")


@pytest.mark.requirement("runtime:delivery-bad-targets")
@pytest.mark.parametrize("bad", [Plain, Nothing, Wordless, Cancelling, Endless, Numberless])
async def test_a_target_that_breaks_every_rule_stops_no_other(bad: type[Bad]) -> None:
    taken: list[str] = []

    async def good(delivery: Delivery) -> None:
        taken.append(delivery.id)

    targets: Any = {"bad": bad(), "good": good}
    clock = FakeClock()
    async with scene(["done"] * 3, clock=clock, targets=targets) as s:
        await soon((await s.runtime.start(AGENT, "go", session="x", deliver=["bad"])).result())
        for _ in range(2):  # the second time it is asked first
            (left,) = await soon(s.runtime.flush_deliveries())
            assert (left.target, left.dead, left.retry_at > clock.now()) == ("bad", False, True)
            assert left.error
            await clock.advance(1.1)
        await soon((await s.runtime.start(AGENT, "go", session="y", deliver=["good"])).result())
        await until(lambda: len(taken) == 1)
        await s.runtime.flush_deliveries()
        assert [each.target for each in await s.runtime.undelivered()] == ["bad"]


@pytest.mark.requirement("runtime:delivery-bad-targets")
async def test_an_audit_that_is_a_plain_function_and_raises_is_asked_again_and_then_passed_over() -> None:
    asked: list[Audited] = []

    def audit(audited: Audited) -> Any:
        asked.append(audited)
        raise Speechless

    clock = FakeClock()
    async with scene(["done"], clock=clock, hooks=Hooks(audit=audit)) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        for _ in range(4 * TRIES):
            await soon(s.runtime.flush_deliveries())
            await clock.advance(20)
        book = await s.runtime.journal.read(StreamId("local/~audit"), limit=1000)
    assert len(asked) == 4 * TRIES
    missed = [each for each in book if each.type == AuditMissed.type]
    assert len(missed) == 4
    assert all(b"Speechless: it has no words" in each.body for each in missed)


def change_blobs(path: Path) -> None:
    """Changes the bytes of every large blob of a store."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("update blob set bytes = cast('y' || substr(bytes, 2) as blob) where size > 50000")
        connection.commit()


@pytest.mark.requirement("runtime:delivery-of-damaged-sessions")
@pytest.mark.parametrize("audited", [False, True])
async def test_a_damaged_session_holds_up_no_other_delivery_and_no_audit(tmp_path: Path, audited: bool) -> None:
    taken: list[str] = []
    told: list[str] = []

    async def target(delivery: Delivery) -> None:
        taken.append(delivery.session)

    async def audit(each: Audited) -> None:
        told.append(each.session)

    def model(request: ScriptRequest) -> str:
        return LARGE if request.last_user_text == "say much" else "done"

    url = f"sqlite:///{tmp_path}/s.db"
    async with scene(model, url=url) as s:
        async with Runtime.open(url, targets={"t": target}) as first:
            first._outgoing._deliverer._closed = True  # it dies before it delivers anything
            await soon((await first.start(AGENT, "say much", session="bad", deliver=["t"])).result())
            await soon((await first.start(AGENT, "go", session="good", deliver=["t"])).result())
        assert taken == []
        change_blobs(tmp_path / "s.db")
        hooks = Hooks(audit=audit) if audited else None
        async with Runtime.open(url, targets={"t": target}, hooks=hooks) as second:
            (left,) = await soon(second.flush_deliveries())
        with pytest.raises(Corrupt, match="holds other bytes"):
            await s.log("bad")
    assert taken == ["good"]
    assert (left.session, left.dead, "holds other bytes" in left.error) == ("bad", True, True)
    assert told.count("good") == (4 if audited else 0)
    assert told.count("bad") == (3 if audited else 0)  # all but the one that is damaged


@tool(effect="unsafe", name="pay")
async def pay() -> str:
    """Pays."""
    return "paid"


@pytest.mark.requirement("runtime:waiting-beside-damaged")
async def test_a_damaged_session_hides_nothing_that_another_one_asks(tmp_path: Path) -> None:
    async with scene(lambda _: Turn(calls=[Call("pay")]), url=f"sqlite:///{tmp_path}/s.db") as s:
        agent = Agent(MODEL, tools=[pay])
        for name, text in (("bad", LARGE), ("good", "go")):
            await s.runtime.start(agent, text, session=name, mode="ask")
            await until(lambda: not s.runtime._worker._live)
        records = await s.runtime.journal.read(stream_id("local", "bad"))
        (blob,) = [each.blob for each in records if each.blob]
        assert records[0].type == InputReceived.type
        assert await s.runtime.journal.discard(TenantId("local"), {blob}, 1 << 60, busy=True)
        assert [each.session for each in await s.runtime.waiting()] == ["good"]
        with pytest.raises(Corrupt, match="fork the session"):
            await s.runtime.waiting("bad")
