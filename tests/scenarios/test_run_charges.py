"""What a run is charged in the ledger: never more than the cap lets it ask for, and what its provider said it used."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, of, scene, soon

from holdfast import Agent, Limits, Price, tool
from holdfast.engine.events import ModelFailed, ModelFinished, ModelStarted
from holdfast.ledger.amounts import Amount, Cap
from holdfast.runtime.runtime import Runtime
from holdfast.testing import Call, Tokens, Turn
from holdfast.testing.faults import Hang
from holdfast.testing.scripts import ScriptRequest

USER = ("local", "user")
PRICE = Price.per_million(3, 15, cache_read=0.3)


@tool(effect="none")
async def step(n: int) -> str:
    """Takes a step."""
    return f"step {n}"


AGENT = Agent(MODEL, tools=[step], max_output_tokens=100, limits=Limits(model_retries=0, steps=None))


def stepping(uses: Iterator[Tokens]) -> Any:
    """Returns a model that never comes to an end, and uses so much each time."""
    return lambda request: Turn(calls=[Call("step", {"n": request.answers})], usage=next(uses))


async def settled(runtime: Runtime) -> Amount:
    """Returns what was settled once nothing is held any more, which is soon after the result."""
    while True:
        balance = await runtime.ledger.balance(USER)
        if balance.open == Amount():
            return balance.settled
        await asyncio.sleep(0)


@pytest.mark.requirement("ledger:cost-cap-before-sending")
@pytest.mark.parametrize("cap", [1, 50_000, 5_000_000, 6_000_000, 9_000_000, 30_000_000])
async def test_a_call_that_could_pass_the_cap_of_a_users_dollars_is_not_sent(cap: int) -> None:
    uses = cycle([Tokens(input_tokens=200, output_tokens=20)])
    async with scene(stepping(uses), prices={MODEL: PRICE}) as s:
        await s.runtime.ledger.set_caps(USER, [Cap(cost=cap)])
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        sent, log = len(s.server.requests), await s.log()
    assert (result.status, result.reason) == ("limited", "dollars of account local/user")
    spent = 0
    for held, answered in zip(of(ModelStarted, log), of(ModelFinished, log), strict=True):
        assert held.cost is not None
        assert spent + held.cost <= cap, "the dearest that it could become fits"
        spent += answered.cost or 0
    assert sent == len(of(ModelFinished, log))
    assert (sent == 0) == (cap <= 50_000), "a cap that no answer fits below lets nothing be sent"


@pytest.mark.requirement("ledger:ledger-equals-provider-usage")
@pytest.mark.parametrize("store", ["memory:", "sqlite"])
async def test_what_is_settled_is_what_the_provider_said_to_the_token(tmp_path: Path, store: str) -> None:
    url = store if store == "memory:" else f"sqlite:///{tmp_path}/s.db"
    uses = [
        Tokens(input_tokens=317, output_tokens=23, cache_read_tokens=128),
        Tokens(input_tokens=401, output_tokens=1),
        Tokens(input_tokens=733, output_tokens=59, cache_read_tokens=512, reasoning_tokens=31),
    ]

    def model(request: ScriptRequest) -> Turn:
        calls = [Call("step", {"n": request.answers})] if request.answers < 2 else []
        return Turn("" if calls else "done", calls=calls, usage=uses[request.answers])

    async with scene(model, url=url, prices={MODEL: PRICE}) as s:
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=10**6)])
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        spent = await settled(s.runtime)
    assert (result.status, result.steps) == ("completed", 3)
    assert spent.tokens == sum(each.total_tokens for each in uses) == 1534
    assert spent.cost == sum(PRICE.cost(each) for each in uses)


@pytest.mark.requirement("ledger:interrupted-call-stays-charged")
@pytest.mark.parametrize("end", ["aborted", "lost"])
async def test_a_call_whose_end_nobody_saw_is_settled_at_what_was_reserved_for_it(tmp_path: Path, end: str) -> None:
    turns = [Turn("never", fault=Hang(times=1)), Turn("here", usage=Tokens(input_tokens=200, output_tokens=20))]
    async with scene(turns, url=f"sqlite:///{tmp_path}/s.db", prices={MODEL: PRICE}) as s:
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=10**6)])
        if end == "aborted":
            run = await s.runtime.start(AGENT, "go", session="s")
            await soon(s.server.arrived(1))
            await run.abort()
        else:
            async with s.other() as gone:
                await gone.start(AGENT, "go", session="s")
                await soon(s.server.arrived(1))
            run = await s.runtime.resume("s", AGENT)
        result = await soon(run.result())
        spent, log = await settled(s.runtime), await s.log()
    (failed,), held = of(ModelFailed, log), of(ModelStarted, log)[0]
    assert failed.code == {"aborted": "interrupted", "lost": "lost"}[end]
    answered = sum(each.message.usage.total_tokens for each in of(ModelFinished, log))
    assert result.status == {"aborted": "aborted", "lost": "completed"}[end]
    assert spent.tokens == held.tokens + answered
    assert held.tokens > 0
