"""Caps that are set while a run goes on, and what a run holds of them while it waits."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, of, scene, soon

from holdfast import Agent, Limits, Price, tool
from holdfast.engine.events import ModelFinished, RunFinished, ToolWaiting
from holdfast.engine.purse import key_of
from holdfast.ledger.amounts import Account, Amount, Cap
from holdfast.ledger.port import Grant
from holdfast.runtime.run import Run
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.types import stream_id

USER = ("local", "user")
SESSION = ("local", "user", "s")
ANSWERS = [Turn(calls=[Call("wait")]), Turn(calls=[Call("wait")]), "done"]
GATES: list[asyncio.Event] = []
"""Set when the tool of this test has begun, and when it may end."""


@tool(effect="none", name="wait")
async def wait() -> str:
    """Waits until it may go on."""
    GATES[0].set()
    await GATES[1].wait()
    return "over"


@tool(effect="unsafe", name="pay")
async def pay() -> str:
    """Pays."""
    return "paid"


AGENT = Agent(MODEL, tools=[wait], max_output_tokens=50, limits=Limits(model_retries=0))
HELPER = Agent("openai/helper", name="helper", max_output_tokens=50)
LEADER = Agent("openai/leader", tools=[HELPER.as_tool("help")], max_output_tokens=50)
PRICE = {name: Price.per_million(10, 10) for name in ("openai/leader", "openai/helper")}


@pytest.fixture(autouse=True)
def _gate() -> None:
    GATES[:] = [asyncio.Event(), asyncio.Event()]


async def busy(s: Scene, **given: Any) -> Run:
    """Starts a run and returns it between two calls of its model."""
    run = await s.runtime.start(AGENT, "go", session="s", **given)
    await soon(GATES[0].wait())
    return run


async def parked(s: Scene) -> None:
    """Returns when the session waits and nobody owns it."""
    while True:
        head = await s.runtime.journal.head(stream_id("local", "s"))
        if head is not None and head.state == "waiting":
            return
        await asyncio.sleep(0)


async def closed(s: Scene) -> None:
    """Returns when the books of the run are closed, which is soon after its result."""
    while True:
        if "run.closed" in await s.kinds():
            return
        await asyncio.sleep(0)


async def held(s: Scene) -> Amount:
    """Returns what the run holds of its account."""
    key = key_of(stream_id("local", "s"), (await s.log())[1].id)
    (grant,) = [grant for grant in await s.runtime.ledger.open_grants() if grant.key == key]
    return grant.amount


@pytest.mark.requirement("ledger:caps-reach-open-runs")
@pytest.mark.parametrize("account", [("local",), USER, SESSION], ids=["tenant", "user", "session"])
@pytest.mark.parametrize("store", ["memory:", "sqlite"])
async def test_a_cap_that_is_set_while_a_run_goes_on_holds_for_its_next_call(
    tmp_path: Path, store: str, account: Account
) -> None:
    clock = FakeClock()
    url = store if store == "memory:" else f"sqlite:///{tmp_path}/s.db"
    async with scene(ANSWERS, url=url, clock=clock) as s:
        run = await busy(s)
        if store == "memory:":
            await s.runtime.ledger.set_caps(account, [Cap(tokens=150)])
        else:
            async with s.other() as other:
                await other.ledger.set_caps(account, [Cap(tokens=150)])
        await clock.advance(2)
        GATES[1].set()
        result = await soon(run.result())
        assert (result.status, result.reason) == ("limited", f"tokens of account {'/'.join(account)}")
        assert len(s.server.requests) == 1
        await soon(closed(s))
        spent = (await s.runtime.ledger.balance(USER)).settled
    assert spent.tokens == result.usage.total_tokens <= 150, "what it spent before is known from then on"


@pytest.mark.requirement("ledger:caps-reach-open-runs")
@pytest.mark.parametrize(("cap", "of_what"), [(Cap(tokens=240), "tokens"), (Cap(time=1_000_000), "seconds")])
async def test_a_cap_that_is_lowered_while_a_run_goes_on_holds_for_what_it_has_taken_ahead(
    cap: Cap, of_what: str
) -> None:
    clock = FakeClock()
    async with scene(ANSWERS, clock=clock) as s:
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=100_000)])
        run = await busy(s)
        first, GATES[:] = GATES[1], [asyncio.Event(), asyncio.Event()]
        await clock.advance(0.1)
        first.set()
        await soon(GATES[0].wait())
        assert (await held(s)).tokens >= 3 * 120, "it has taken enough for the next call"
        await s.runtime.ledger.set_caps(USER, [cap])
        await clock.advance(2)
        GATES[1].set()
        result = await soon(run.result())
    assert (result.status, result.reason) == ("limited", f"{of_what} of account local/user")
    assert result.usage.total_tokens == 240


@pytest.mark.requirement("ledger:caps-reach-open-runs")
async def test_a_run_that_hears_of_a_cap_with_room_for_it_goes_on_and_all_it_spent_is_settled() -> None:
    clock = FakeClock()
    async with scene(ANSWERS, clock=clock) as s:
        run = await busy(s)
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=100_000)])
        await clock.advance(2)
        GATES[1].set()
        result = await soon(run.result())
        await soon(closed(s))
        balance = await s.runtime.ledger.balance(USER)
    assert (result.status, result.steps) == ("completed", 3)
    assert (balance.settled.tokens, balance.open) == (result.usage.total_tokens, Amount())


@pytest.mark.requirement("ledger:caps-reach-open-runs")
async def test_a_run_looks_for_caps_once_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    async with scene(ANSWERS, clock=clock) as s:
        ledger, looks = s.runtime.ledger, list[Account]()
        caps = ledger.caps
        await ledger.set_caps(("local", "zoe"), [Cap(tokens=1)])  # somebody has one

        async def counted(account: Account) -> tuple[Cap, ...]:
            looks.append(account)
            return await caps(account)

        monkeypatch.setattr(ledger, "caps", counted)
        run = await busy(s)
        await clock.advance(0.9)
        GATES[1].set()
        assert (await soon(run.result())).steps == 3
        assert looks == [("local",), USER, SESSION], "once, when it was bound"


@pytest.mark.requirement("ledger:parked-runs-hold-nothing-ahead")
@pytest.mark.parametrize("store", ["memory:", "sqlite"])
async def test_a_run_that_waits_for_its_children_holds_no_more_than_it_has_spent(tmp_path: Path, store: str) -> None:
    url = store if store == "memory:" else f"sqlite:///{tmp_path}/s.db"
    jobs = Turn(calls=[Call("help", {"prompt": "go"})])
    begun, gate = asyncio.Event(), asyncio.Event()

    async def helped(_: object) -> Turn:
        begun.set()
        await gate.wait()
        return Turn(text="helped")

    async with scene({"leader": [jobs, "done"], "helper": helped}, url=url, prices=PRICE) as s:
        run = await s.runtime.start(LEADER, "go", session="s", limits=Limits(tokens=30_000))
        await soon(begun.wait())
        await soon(parked(s))
        (answered,) = of(ModelFinished, await s.log())
        amount = await held(s)
        assert (amount.tokens, amount.cost) == (answered.message.usage.total_tokens, answered.cost)
        gate.set()
        result = await soon(run.result())
        await soon(closed(s))
        balance = await s.runtime.ledger.balance(USER)
    assert (result.status, balance.settled.tokens) == ("completed", result.usage.total_tokens)


@pytest.mark.requirement("ledger:parked-runs-hold-nothing-ahead")
async def test_a_run_that_waits_for_a_person_leaves_the_rest_to_others_and_takes_anew_when_it_goes_on() -> None:
    agent = Agent(MODEL, tools=[pay], max_output_tokens=50)
    async with scene([Turn(calls=[Call("pay")]), "done"]) as s:
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=1_000)])
        run = await s.runtime.start(agent, "go", session="s", mode="ask")
        await soon(parked(s))
        assert (await held(s)).tokens == 120
        assert (await held(s)).time > 60_000_000, "time goes on while it waits"
        assert (await s.runtime.ledger.balance(USER)).standings[0].left[0] == 880
        assert isinstance(await s.runtime.ledger.grant((*USER, "t", "t@2"), Amount(870), "another"), Grant)
        (waiting,) = of(ToolWaiting, await s.log())
        await run.approve(waiting.wait.token)
        result = await soon(run.result())
        log = await s.log()
    assert (result.status, result.reason) == ("limited", "tokens of account local/user")
    assert of(RunFinished, log)[0].usage.total_tokens == 120


@pytest.mark.requirement("ledger:parked-runs-hold-nothing-ahead", "ledger:survives-kills")
async def test_what_a_call_came_to_is_in_the_log_before_the_rest_of_its_grant_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(MODEL, tools=[pay], max_output_tokens=50)
    async with scene([Turn(calls=[Call("pay")]), "done"], url=f"sqlite:///{tmp_path}/s.db") as s:
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=1_000)])
        ledger, logs = s.runtime.ledger, list[list[str]]()
        shrink = ledger.shrink

        async def seen(key: str, amount: Amount) -> Grant:
            logs.append(await s.kinds())
            return await shrink(key, amount)

        monkeypatch.setattr(ledger, "shrink", seen)
        await s.runtime.start(agent, "go", session="s", mode="ask")
        await soon(parked(s))
    assert logs
    assert all("model.finished" in kinds for kinds in logs), "a kill here charges what was spent, not what was reserved"


@pytest.mark.requirement("ledger:caps-reach-open-runs", "ledger:spent-before-cap-charged")
@pytest.mark.parametrize("store", ["memory:", "sqlite"])
async def test_what_a_run_had_spent_before_a_cap_below_that_was_set_is_charged_all_the_same(
    tmp_path: Path, store: str
) -> None:
    clock, url = FakeClock(), store if store == "memory:" else f"sqlite:///{tmp_path}/s.db"
    async with scene(ANSWERS, url=url, clock=clock) as s:
        run = await busy(s)
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=10)])
        await clock.advance(2)
        GATES[1].set()
        result = await soon(run.result())
        await soon(closed(s))
        balance = await s.runtime.ledger.balance(USER)
    assert (result.status, result.reason) == ("limited", "tokens of account local/user")
    assert balance.settled.tokens == result.usage.total_tokens > 10
    assert balance.open == Amount()
