"""A provider fails, and the run goes on with the next model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.running import HastyClock, Scene, all_answered, of, scene, soon

from holdfast import Agent, Phase, Pipeline
from holdfast.engine.events import BudgetExhausted, ModelFailed, ModelFinished, RunFinished
from holdfast.errors import AuthFailed, UnknownModel, UnknownPrice
from holdfast.flow.clock import SystemClock
from holdfast.models.routing.chain import Failover
from holdfast.models.routing.routes import Routes
from holdfast.runtime.runtime import Runtime
from holdfast.testing.faults import Fault, Reset, Status, StreamError
from holdfast.testing.scripts import Call, Canned, Script, Tokens, Turn
from holdfast.tools.declaring import tool
from holdfast.types import Limits, Price, Usage

CHAIN = "openai/first,anthropic/second"
RAN: list[str] = []


@tool(effect="none")
def look(at: str) -> str:
    """Looks at something."""
    RAN.append(at)
    return f"saw {at}"


def failing(fault: Fault, *then: Turn | str) -> dict[str, Script]:
    return {"first": [Turn("never", fault=fault)], "second": list(then) or ["from the second"]}


def agent(spec: str = CHAIN, **options: Any) -> Agent:
    return Agent(spec, instructions="Look well.", tools=[look], **options)


def models(s: Scene) -> list[str]:
    return [each.model for each in s.server.requests]


@pytest.mark.requirement("models:failover-on-server-errors-only")
@pytest.mark.parametrize("status", [429, 500, 503, 529])
async def test_a_server_that_fails_is_stood_in_for_by_the_next_model(status: int) -> None:
    clock = HastyClock()
    async with scene(failing(Status(status=status)), clock=clock) as s:
        run = await s.runtime.start(agent(), "go", session="s")
        result = await soon(run.result())
        failures = of(ModelFailed, await s.log())
        asked = models(s)
    assert (result.status, result.output) == ("completed", "from the second")
    tries = 1 if status == 429 else 2
    assert asked == ["first"] * tries + ["second"]
    assert [each.model for each in failures] == ["openai/first"] * tries
    assert failures[-1].next == "anthropic/second"
    assert not clock.slept or max(clock.slept) <= 0.5


@pytest.mark.requirement("models:failover-on-server-errors-only")
@pytest.mark.parametrize(("status", "code"), [(400, "invalid_request"), (401, "auth")])
async def test_a_refused_request_ends_the_run_and_nobody_else_is_asked(status: int, code: str) -> None:
    async with scene(failing(Status(status=status))) as s:
        run = await s.runtime.start(agent(), "go", session="s")
        result = await soon(run.result())
        asked = models(s)
    assert (result.status, asked) == ("failed", ["first"])
    assert result.reason.startswith(f"{code}: 'openai/first'")


async def test_with_the_flag_the_next_model_is_asked_also_then() -> None:
    routes = Routes(SystemClock(), failover=Failover(advance=True))
    async with scene(failing(Status(status=401)), routes=routes) as s:
        result = await soon((await s.runtime.start(agent(), "go", session="s")).result())
        asked = models(s)
    assert (result.output, asked) == ("from the second", ["first", "second"])


@pytest.mark.requirement("models:failover-same-request")
async def test_the_next_model_gets_the_same_tools_instructions_and_history_and_no_call_runs_twice() -> None:
    RAN.clear()
    script: dict[str, Script] = {
        "first": [Turn("I look.", calls=[Call("look", {"at": "a"}), Call("look", {"at": "b"})]),
                  Turn("never", fault=Status(status=503))],
        "second": [Turn("nobody asks for this"), Turn("done")],
    }  # fmt: skip
    async with scene(script, clock=HastyClock()) as s:
        run = await s.runtime.start(agent("openai/first,openai/second"), "go", session="s")
        result = await soon(run.result())
        log = await s.log()
        bodies = [json.loads(each.body) for each in s.server.requests]
    assert (result.output, sorted(RAN)) == ("done", ["a", "b"])
    assert [each["model"] for each in bodies] == ["first", "first", "first", "second"]
    assert {**bodies[3], "model": ""} == {**bodies[2], "model": ""}  # but for who is asked
    assert all_answered(log)
    assert [each.message.model for each in of(ModelFinished, log)] == ["openai/first", "openai/second"]
    assert list(result.models) == ["openai/first", "openai/second"]


@pytest.mark.requirement("models:tiers-usage-of-the-server", "routing:told")
async def test_what_was_used_is_charged_to_the_model_that_used_it_at_its_own_price() -> None:
    script: dict[str, Script] = {
        "first": [Turn("", usage=Tokens(input_tokens=70, output_tokens=5))] * 2,
        "second": [Turn("from the second", usage=Tokens(input_tokens=100, output_tokens=20))],
    }
    prices = {"openai/first": Price.per_million(10, 100), "anthropic/second": Price.per_million(1, 2)}
    async with scene(script, clock=HastyClock(), prices=prices) as s:
        run = await s.runtime.start(agent(), "go", session="s")
        result = await soon(run.result())
        log = await s.log()
    failures, answer = of(ModelFailed, log), of(ModelFinished, log)[0]
    assert [(each.model, each.usage, each.cost) for each in failures] == [
        ("openai/first", Usage(70, 5), 70 * 10_000 + 5 * 100_000)
    ] * 2
    assert (answer.message.model, answer.message.usage, answer.cost) == (
        "anthropic/second", Usage(100, 20), 100 * 1_000 + 20 * 2_000,
    )  # fmt: skip
    assert result.usage == Usage(240, 30)
    assert result.cost == pytest.approx((2 * 1_200_000 + 140_000) / 1e9)
    served = {name: (each.answers, each.usage) for name, each in result.models.items()}
    assert served == {"openai/first": (0, Usage(140, 10)), "anthropic/second": (1, Usage(100, 20))}


@pytest.mark.requirement("models:failover-matrix")
async def test_when_nobody_answers_the_run_says_why_of_each() -> None:
    script: dict[str, Script] = {
        "first": [Turn("", fault=Status(status=404))], "second": [Turn("", fault=Status(status=529, message="full"))]
    }  # fmt: skip
    async with scene(script, clock=HastyClock()) as s:
        run = await s.runtime.start(agent(), "go", session="s")
        result = await soon(run.result())
        failures, asked = of(ModelFailed, await s.log()), models(s)
    assert (result.status, asked) == ("failed", ["first", "second", "second"])
    assert result.reason.startswith("no model of 2 answered: model_not_found: 'openai/first'")
    assert "; overloaded: 'anthropic/second'" in result.reason
    assert [(each.again, each.next) for each in failures] == [
        (True, "anthropic/second"), (True, "anthropic/second"), (False, "")
    ]  # fmt: skip


@pytest.mark.requirement("models:failover-matrix")
async def test_a_chain_goes_on_at_once_where_one_model_wants_to_be_left_alone() -> None:
    clock = HastyClock()
    script = failing(Status(status=429, retry_after=40))
    async with scene(script, clock=clock) as s:
        result = await soon((await s.runtime.start(agent(), "go", session="s")).result())
        again = await soon((await s.runtime.start(agent(), "go", session="t")).result())
        asked = models(s)
    assert (result.output, again.output, clock.slept) == ("from the second", "from the second", [])
    assert asked == ["first", "second", "second"]  # the other run heard of it


@pytest.mark.requirement("models:failover-matrix")
async def test_where_nobody_else_is_left_it_waits_as_long_as_the_server_asks() -> None:
    clock = HastyClock()
    script: dict[str, Script] = {
        "first": [Turn("late", fault=Status(status=429, retry_after=20, times=1))],
        "second": [Turn("never", fault=Status(status=404))],
    }
    async with scene(script, clock=clock) as s:
        result = await soon((await s.runtime.start(agent(), "go", session="s")).result())
        asked = models(s)
    assert (result.output, asked) == ("late", ["first", "second", "first"])
    assert clock.slept == [pytest.approx(20, abs=1)]


async def test_a_run_without_retries_goes_on_with_the_next_model_at_once() -> None:
    clock = HastyClock()
    async with scene(failing(Status(status=503)), clock=clock) as s:
        run = await s.runtime.start(agent(), "go", session="s", limits=Limits(model_retries=0))
        result = await soon(run.result())
        asked = models(s)
    assert (result.output, asked, clock.slept) == ("from the second", ["first", "second"], [])


async def test_too_long_a_request_goes_to_a_model_with_a_larger_window() -> None:
    full = Status(status=400, message="prompt is too long: 3 tokens > 2 maximum")
    chain = "anthropic/claude-haiku-4-5,openai/gpt-4o,openai/gpt-4.1"
    script: dict[str, Script] = {
        "claude-haiku-4-5": [Turn("", fault=full)], "gpt-4o": ["too small"], "gpt-4.1": ["it fits"]
    }  # fmt: skip
    async with scene(script) as s:
        result = await soon((await s.runtime.start(agent(chain), "go", session="s")).result())
        asked = models(s)
    assert (result.output, asked) == ("it fits", ["claude-haiku-4-5", "gpt-4.1"])


@pytest.mark.requirement("models:overflow-silent")
async def test_an_answer_to_more_than_the_window_holds_is_an_overflow() -> None:
    words = "x" * 600_000
    used = Tokens(input_tokens=150_000, output_tokens=10)
    script: dict[str, Script] = {"gpt-4o": [Turn("to half of it", usage=used)], "gpt-4.1": [Turn("all", usage=used)]}
    async with scene(script) as s:
        alone = await soon((await s.runtime.start(agent("openai/gpt-4o"), words, session="a")).result())
        both = await soon((await s.runtime.start(agent("openai/gpt-4o,openai/gpt-4.1"), words, session="b")).result())
        failure = of(ModelFailed, await s.log("b"))[0]
    assert alone.status == "failed"
    assert alone.reason.startswith("context_overflow: 'openai/gpt-4o': the request has 150,000 tokens")
    assert (both.status, both.output) == ("completed", "all")
    assert (failure.code, failure.usage) == ("context_overflow", Usage(150_000, 10))


@pytest.mark.requirement("models:overflow-silent")
async def test_without_a_known_window_or_with_a_mere_bound_nothing_is_called_an_overflow() -> None:
    words, used = "x" * 600_000, Tokens(input_tokens=150_000, output_tokens=10)
    raw = {"choices": [{"message": {"content": "short"}, "finish_reason": "stop"}]}
    script: dict[str, Script] = {
        "unknown": [Turn("all of it", usage=used)], "gpt-4o": [Turn(raw=Canned(body=json.dumps(raw)))]
    }  # fmt: skip
    async with scene(script) as s:
        unknown = await soon((await s.runtime.start(agent("openai/unknown"), words, session="a")).result())
        bound = await soon((await s.runtime.start(agent("openai/gpt-4o"), words, session="b")).result())
    assert (unknown.output, bound.output) == ("all of it", "short")
    assert bound.usage.input_tokens > 600_000  # of a server that does not say, nobody knows more


@pytest.mark.requirement("routing:shared-health")
async def test_two_runs_share_what_they_learn_and_one_answer_clears_it() -> None:
    clock = HastyClock()
    faults = [Status(status=503, times=2)]
    script: dict[str, Script] = {
        "first": [Turn("well again", fault=faults)], "second": lambda asked: f"second for {asked.last_user_text}"
    }  # fmt: skip
    routes = Routes(clock)
    async with scene(script, clock=clock, routes=routes) as s:
        one = await soon((await s.runtime.start(agent(), "one", session="a")).result())
        assert routes.health.left("openai/first") > 0
        two = await soon((await s.runtime.start(agent(), "two", session="b")).result())
        assert models(s) == ["first", "first", "second", "second"]
        clock._ahead += 31
        three = await soon((await s.runtime.start(agent(), "one", session="c")).result())
        assert not routes.health.troubled
    assert [one.output, two.output, three.output] == ["second for one", "second for two", "well again"]


@pytest.mark.requirement("routing:shared-health")
async def test_a_model_that_a_person_benched_is_passed_over_and_without_another_the_run_says_so() -> None:
    routes = Routes(SystemClock())
    routes.health.bench("openai/first")
    async with scene({"first": ["one"], "second": ["two"]}, routes=routes) as s:
        result = await soon((await s.runtime.start(agent(), "go", session="a")).result())
        s.runtime.health.bench("anthropic/second")
        nobody = await soon((await s.runtime.start(agent(), "go", session="b")).result())
        alone = await soon((await s.runtime.start(agent("openai/first"), "go", session="c")).result())
    assert (result.output, alone.output) == ("two", "one")
    assert (nobody.status, nobody.reason.partition(":")[0]) == ("failed", "benched")


async def test_what_is_left_of_the_budget_binds_the_next_model_as_well() -> None:
    size = 4_000
    script: dict[str, Script] = {
        "first": [Turn("x" * 200, fault=StreamError(after_events=4), chunk=8)], "second": ["never"]
    }  # fmt: skip
    async with scene(script, clock=HastyClock()) as s:
        run = await s.runtime.start(agent(), "go", session="s", limits=Limits(tokens=size, model_retries=0))
        result = await soon(run.result())
        log, asked = await s.log(), models(s)
    assert asked in (["first"], ["first", "second"])
    assert result.usage.total_tokens <= size
    if asked == ["first"]:
        assert (result.status, result.reason) == ("limited", "tokens")
        assert of(BudgetExhausted, log) or of(RunFinished, log)[0].reason == "tokens"


async def test_a_budget_that_one_model_used_up_pays_for_no_other() -> None:
    script: dict[str, Script] = {
        "first": [Turn("words", fault=Reset(after_events=3), chunk=2)], "second": ["never"]
    }  # fmt: skip
    async with scene(script, clock=HastyClock()) as s:
        run = await s.runtime.start(agent(), "go", session="s", limits=Limits(tokens=1_500, model_retries=0))
        result = await soon(run.result())
        asked, failure = models(s), of(ModelFailed, await s.log())[0]
    assert (result.status, result.reason, asked) == ("limited", "tokens", ["first"])
    assert (failure.usage, failure.next) == (None, "anthropic/second")  # it stays charged at its reservation


@pytest.mark.requirement("routing:names")
async def test_names_stand_for_models_and_what_stands_for_none_is_refused_before_anything_is_written() -> None:
    routes = Routes(
        SystemClock(), aliases={"mine": "smart,openai/x"}, tiers={"smart": "openai/first"}, provider="openai"
    )
    async with scene({"first": ["one"], "gpt": ["bare"]}, routes=routes) as s:
        for spec, said in (("mine", "one"), ("smart:high", "one"), ("gpt", "bare")):
            assert (await soon((await s.runtime.start(Agent(spec), "go")).result())).output == said
    async with scene(["never"]) as s:
        with pytest.raises(UnknownModel, match=r"'mine'.*no alias.*no tier"):
            await s.runtime.start(Agent("openai/first,mine"), "go", session="s")
        with pytest.raises(UnknownModel, match="no provider goes by the name 'nobody'"):
            await s.runtime.start(Agent("openai/first,nobody/x"), "go", session="s")
        assert await s.runtime.journal.heads("local") == []


async def test_every_model_of_a_chain_is_looked_at_before_the_run_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    prices = {"openai/first": Price.per_million(1, 2)}
    async with scene(["never"], prices=prices) as s:
        with pytest.raises(UnknownPrice, match="'anthropic/second'"):
            await s.runtime.start(agent(), "go", limits=Limits(dollars=1))
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    async with Runtime.open("memory:", aliases={"all": CHAIN}) as runtime:
        with pytest.raises(AuthFailed, match="ANTHROPIC_API_KEY"):
            await runtime.start(Agent("all"), "go")


async def test_a_child_and_a_phase_have_chains_of_their_own() -> None:
    script: dict[str, Script] = {
        "down": [Turn("never", fault=Status(status=503))],
        "up": [Turn("the helper's answer")],
        "boss": [Turn("", calls=[Call("helper", {"prompt": "help"})]), "all done"],
    }
    helper = Agent("openai/down,openai/up", name="helper")
    async with scene(script, clock=HastyClock()) as s:
        boss = Agent("openai/down,openai/boss", tools=[helper.as_tool("helper")])
        result = await soon((await s.runtime.start(boss, "go", session="s")).result(), 10)
        piped = await soon((await s.runtime.start(Pipeline([Phase("only", helper)]), "go", session="p")).result(), 10)
    assert (result.status, result.output) == ("completed", "all done")
    assert (piped.status, piped.output) == ("completed", "the helper's answer")
