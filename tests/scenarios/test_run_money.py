"""Money in common: caps of a user, and limits that a run shares with those it starts."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

import pytest
from tests.running import MODEL, asked, of, scene, soon, until

from holdfast import Agent, Limits, Price, tool
from holdfast.engine.events import AccountOpened, BudgetExhausted, RunClosed, RunFinished
from holdfast.errors import UnknownPrice
from holdfast.ledger.amounts import Amount, Cap
from holdfast.runtime.pipelines import Phase, Pipeline
from holdfast.runtime.runtime import Runtime
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.types import from_dollars

USER = ("local", "user")
AGENT = Agent(MODEL, limits=Limits(model_retries=0))
HELPER = Agent("openai/helper", name="helper", max_output_tokens=50)
PRICE = {MODEL: Price.per_million(10, 10), "openai/leader": Price.per_million(10, 10)}
PRICE["openai/helper"] = Price.per_million(10, 10)


@tool(effect="none")
async def look() -> str:
    """Looks."""
    return "seen"


async def settled(runtime: Runtime, account: tuple[str, ...] = USER) -> Amount:
    """Returns what was settled once every grant is, which is soon after the result."""

    async def closed() -> Amount:
        while True:
            balance = await runtime.ledger.balance(account)
            if balance.open == Amount():
                return balance.settled
            await asyncio.sleep(0)

    return await soon(closed())


@pytest.mark.requirement("ledger:runs-draw-from-it")
@pytest.mark.parametrize("store", ["memory:", "sqlite"])
async def test_a_user_with_a_cap_spends_no_more_however_many_runs_there_are(tmp_path: Path, store: str) -> None:
    url = store if store == "memory:" else f"sqlite:///{tmp_path}/s.db"
    agent = Agent(MODEL, max_output_tokens=60, limits=Limits(model_retries=0))
    async with scene(["ok"], url=url) as s:
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=1_000)])
        runs = [await s.runtime.start(agent, "go", session=f"s{n}") for n in range(12)]
        results = [await soon(run.result()) for run in runs]
        spent = await settled(s.runtime)
        done = [result for result in results if result.status == "completed"]
        assert 1 <= len(done) < 12
        assert spent.tokens == sum(result.usage.total_tokens for result in results) <= 1_000
        refused = {result.reason for result in results if result.status == "limited"}
        assert all(reason.startswith("tokens of account local/user") for reason in refused)
        log = await s.log("s0")
    assert len(of(AccountOpened, log)) == len(of(RunClosed, log)) == 1


@pytest.mark.requirement("ledger:runs-draw-from-it")
async def test_without_a_cap_nothing_is_booked_and_a_cap_is_heard_of_within_a_second(tmp_path: Path) -> None:
    async with scene(["ok"], url=f"sqlite:///{tmp_path}/s.db") as s, s.other() as other:
        await soon((await s.runtime.start(AGENT, "go", session="a")).result())
        assert "account.opened" not in await s.kinds("a")
        await other.ledger.set_caps(USER, [Cap(tokens=100_000)])

        async def heard() -> None:
            for number in count():
                await (await s.runtime.start(AGENT, "go", session=f"b{number}")).result()
                if "account.opened" in await s.kinds(f"b{number}"):
                    return

        await soon(heard(), 4)
        assert (await settled(s.runtime)).tokens == 120


@pytest.mark.requirement("ledger:runs-draw-from-it")
async def test_a_cap_of_dollars_needs_a_price() -> None:
    async with scene(["ok"]) as s:
        await s.runtime.ledger.set_caps(USER, [Cap(cost=from_dollars(1))])
        run = await s.runtime.start(AGENT, "go", session="a")
        with pytest.raises(UnknownPrice, match=r"account 'local/user/a/a@[0-9a-f-]+'"):
            await soon(run.result())


@pytest.mark.requirement("ledger:children-share")
@pytest.mark.parametrize("store", ["memory:", "sqlite"])
async def test_a_run_and_all_it_starts_spend_no_more_than_its_limit_together(tmp_path: Path, store: str) -> None:
    url = store if store == "memory:" else f"sqlite:///{tmp_path}/s.db"
    leader = Agent("openai/leader", tools=[HELPER.as_tool("help")], max_output_tokens=50)
    jobs = Turn(calls=[Call("help", {"prompt": str(n)}) for n in range(8)])
    async with scene({"leader": [jobs, "done"], "helper": ["helped"]}, url=url, prices=PRICE) as s:
        limits = Limits(tokens=3_000)
        run = await s.runtime.start(leader, "go", session="s", limits=limits)
        result = await soon(run.result())
        (opened,) = of(AccountOpened, await s.log())
        spent = await settled(s.runtime, opened.account)
    assert spent.tokens == result.usage.total_tokens <= 3_000
    assert result.cost is not None
    assert spent.cost == from_dollars(result.cost)


@pytest.mark.requirement("ledger:survives-kills")
async def test_a_run_that_goes_on_elsewhere_has_the_grant_it_had_and_settles_it(tmp_path: Path) -> None:
    gate = asyncio.Event()

    @tool(effect="none", name="wait")
    async def wait() -> str:
        """Waits."""
        await gate.wait()
        return "over"

    agent = Agent(MODEL, tools=[wait], max_output_tokens=50)
    async with scene([Turn(calls=[Call("wait", {})]), "done"], url=f"sqlite:///{tmp_path}/s.db") as s:
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=5_000)])
        async with s.other() as gone:
            run = await gone.start(agent, "go", session="s")
            await until(lambda: len(s.server.requests) == 1)
        assert len(await s.runtime.ledger.open_grants()) == 1
        gate.set()
        again = await s.runtime.resume("s", agent)
        result = await soon(again.result())
        assert (again.key, result.status) == (run.key, "completed")
        spent = await settled(s.runtime)
        log = await s.log()
    charged = of(RunFinished, log)[0].usage.total_tokens
    assert charged <= spent.tokens <= 5_000


@pytest.mark.requirement("ledger:runs-say-when-again")
@pytest.mark.parametrize(("runs", "cap"), [(2, 200), (1, 220)])  # nothing is left of it, and too little for a call
async def test_a_run_that_meets_the_cap_of_a_window_says_when_enough_may_fit_again(runs: int, cap: int) -> None:
    clock = FakeClock()
    window = 7 * 24 * 3600 * 1_000_000
    agent = Agent(MODEL, max_output_tokens=60, limits=Limits(model_retries=0))
    async with scene(["ok"], clock=clock) as s:
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=cap + 300, window=window)])
        for number in range(runs):
            first = await soon((await s.runtime.start(agent, "go", session=f"a{number}")).result())
            assert (first.status, first.again_at) == ("completed", None)
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=cap, window=window)])
        result = await soon((await s.runtime.start(agent, "go", session="b")).result())
        assert (result.status, result.reason) == ("limited", "tokens of account local/user")
        assert result.again_at is not None
        assert window * 0.9 < result.again_at - clock.now() < window * 1.1
        (exhausted,) = of(BudgetExhausted, await s.log("b"))
        assert exhausted.again_at == result.again_at


@pytest.mark.requirement("ledger:runs-say-when-again")
async def test_where_a_call_is_larger_than_the_cap_no_time_is_said_as_waiting_never_helps() -> None:
    agent = Agent(MODEL, max_output_tokens=60, limits=Limits(model_retries=0))
    async with scene(["ok"], clock=FakeClock()) as s:
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=100, window=60_000_000)])
        result = await soon((await s.runtime.start(agent, "go", session="a")).result())
    assert (result.reason, result.again_at) == ("tokens of account local/user", None)
    assert "raise the cap" in result.advice


@pytest.mark.requirement("ledger:children-share")
async def test_the_phases_of_a_pipeline_spend_no_more_together_than_its_limit() -> None:
    line = Pipeline([Phase(f"phase{number}", HELPER) for number in range(6)])
    async with scene({"helper": ["helped"]}, prices=PRICE) as s:
        run = await s.runtime.start(line, "go", session="s", limits=Limits(tokens=650))
        result = await soon(run.result())
        spent = await settled(s.runtime)
        log = await s.log()
    assert result.status == "limited"
    assert "tokens of account local/user/s/s@" in result.reason
    assert spent.tokens == result.usage.total_tokens <= 650
    assert len(of(AccountOpened, log)) == len(of(RunClosed, log)) == 1


@pytest.mark.requirement("ledger:children-share")
@pytest.mark.parametrize("capped", ["run", "user"])
async def test_a_child_whose_price_nobody_knows_is_no_riddle_to_its_parent(capped: str) -> None:
    leader = Agent("openai/leader", tools=[HELPER.as_tool("help")], max_output_tokens=50)
    known = {name: price for name, price in PRICE.items() if "helper" not in name}
    jobs = Turn(calls=[Call("help", {"prompt": "go"})])
    async with scene({"leader": [jobs, "done"], "helper": ["never"]}, prices=known) as s:
        if capped == "user":
            await s.runtime.ledger.set_caps(USER, [Cap(cost=from_dollars(1))])
        limits = Limits(dollars=1) if capped == "run" else None
        result = await soon((await s.runtime.start(leader, "go", session="s", limits=limits)).result())
        said = [each["content"] for each in asked(s.server)[-1] if each["role"] == "tool"]
    assert result.status == "completed"
    assert "price" in said[0]


@pytest.mark.requirement("ledger:budget-never-retried")
async def test_a_run_whose_account_is_used_up_ends_for_that_reason_and_is_not_tried_again() -> None:
    async with scene(["never"]) as s:
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=1)])
        result = await soon((await s.runtime.start(AGENT, "go", session="a")).result())
        assert (result.status, result.steps) == ("limited", 0)
        assert result.reason.startswith("tokens of account local/user")
        assert await s.runtime.sweep() == 0
        assert [each.type for each in await s.log("a")].count("budget.exhausted") == 1
        assert len(s.server.requests) == 0


@pytest.mark.requirement("ledger:runs-draw-from-it")
async def test_a_cap_holds_however_many_other_accounts_have_one() -> None:
    async with scene(["never"]) as s:
        for number in range(1_001):
            await s.runtime.ledger.set_caps(("local", f"ann{number}"), [Cap(tokens=9)])
        await s.runtime.ledger.set_caps(("local", "zoe"), [Cap(tokens=0)])
        result = await soon((await s.runtime.start(AGENT, "go", session="z", user="zoe")).result())
    assert result.reason.startswith("tokens of account local/zoe")
