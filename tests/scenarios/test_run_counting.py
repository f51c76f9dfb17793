"""How many tokens a prompt would send, as a program asks before it sends it; and what runs teach about that."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from tests.running import MODEL, scene, soon, until

from holdfast import Agent, tool
from holdfast.errors import AuthFailed, UnknownModel, UsageError
from holdfast.runtime.pipelines import Phase, Pipeline
from holdfast.runtime.runtime import Runtime
from holdfast.testing import Call, Turn
from holdfast.testing.faults import Hang
from holdfast.testing.scripts import Canned, Tokens
from holdfast.types import Image

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CLAUDE = "anthropic/scripted"
WORDS = "Tell me more about it. " * 100


@tool(effect="none")
async def look() -> str:
    """Looks."""
    return "seen " * 200


@pytest.mark.requirement("counting:runtime")
async def test_a_prompt_is_counted_with_the_history_of_its_session_and_nothing_is_said(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    turns = [Turn(calls=[Call("look", {})]), Turn("Long. " * 500), Turn("Third.")]
    agent = Agent(MODEL, tools=[look], instructions="Be kind.")
    async with scene(turns, url=url) as s:
        counted = s.runtime.count_tokens
        alone = (await counted(agent, "hi")).tokens
        longer = (await counted(agent, WORDS)).tokens
        assert alone < 400 < longer
        assert (await counted(agent, WORDS, session="s")).tokens == longer, "nothing was said there yet"
        assert await s.log() == [], "and nothing is by counting"
        await soon((await s.runtime.start(agent, "go", session="s")).result())
        s.runtime.estimator.forget(MODEL)
        requests, events = len(s.server.requests), len(await s.log())
        found = await counted(agent, "hi", session="s")
        assert found.tokens > alone + 1000
        assert (found.model, found.exact, found.window) == (MODEL, False, None)
        assert (len(s.server.requests), len(await s.log())) == (requests, events)
        async with s.other() as other:
            assert await other.count_tokens(agent, "hi", session="s") == found, "another process reads the same log"
            assert (await other.count_tokens(agent, session="s")).tokens < found.tokens
        await soon((await s.runtime.start(agent, "hi", session="s")).result())
        sent = len(s.server.requests[-1].body)
        assert sent * 0.4 <= found.tokens <= sent * 0.4 + 20, "what was counted is what was sent"
        assert (await s.runtime.ledger.balance(("local", "user"))).open.tokens == 0


@pytest.mark.requirement("counting:runtime")
async def test_what_was_said_to_a_run_and_not_heard_yet_counts() -> None:
    async with scene([Turn("ok", fault=Hang())]) as s:
        agent = Agent(MODEL)
        run = await s.runtime.start(agent, "go", session="s")
        await until(lambda: bool(s.server.requests))
        before = await s.runtime.count_tokens(agent, session="s")
        await run.follow_up(WORDS)
        assert "input.received" not in (await s.kinds())[2:], "it is mail as long as the model is asked"
        after = await s.runtime.count_tokens(agent, session="s")
        assert after.tokens > before.tokens + 500
        await run.abort("enough")
        await soon(run.result())


@pytest.mark.requirement("counting:runtime", "counting:served")
async def test_the_provider_counts_when_it_is_asked_to() -> None:
    async with scene([Turn("ok")]) as s:
        agent = Agent(CLAUDE, instructions="Be kind.", tools=[look])
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("ANTHROPIC_API_KEY", "k")
            found = await s.runtime.count_tokens(agent, WORDS, ask=True)
            assert found.exact
            (asked,) = s.server.requests
            assert (asked.target, found.tokens) == ("/v1/messages/count_tokens", pytest.approx(600, abs=200))
            assert not (await s.runtime.count_tokens(Agent(MODEL), WORDS, ask=True)).exact, "chat has no such place"
            assert len(s.server.requests) == 1
        s.server.verify(complete=False)


@pytest.mark.requirement("counting:falls-back")
async def test_counting_needs_a_key_only_where_the_provider_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    async with Runtime.open("memory:") as runtime:
        agent = Agent("anthropic/claude-opus-4-5")
        found = await runtime.count_tokens(agent, "hi")
        assert not found.exact
        assert found.window == 200_000
        with pytest.raises(AuthFailed, match="ANTHROPIC_API_KEY"):
            await runtime.count_tokens(agent, "hi", ask=True)
        with pytest.raises(UnknownModel):
            await runtime.count_tokens(Agent("nobody/x"), "hi")
        pipeline = Pipeline([Phase("one", agent)])
        with pytest.raises(UsageError, match="a pipeline asks no model itself"):
            await runtime.count_tokens(pipeline, "hi")


@pytest.mark.requirement("counting:learns")
async def test_runs_teach_the_estimates_what_their_models_make_of_bytes() -> None:
    async with scene([Turn("ok", usage=Tokens(input_tokens=700))]) as s:
        agent = Agent(MODEL, instructions="Be kind. " * 300)
        before = await s.runtime.count_tokens(agent, "go")
        for number in range(32):
            await soon((await s.runtime.start(agent, "go", session=f"s{number}")).result())
        after = await s.runtime.count_tokens(agent, "go")
        assert before.tokens > 1000
        assert 700 <= after.tokens <= 720
        unlike = await s.runtime.count_tokens(Agent("openai/another", instructions="Be kind. " * 300), "go")
        assert abs(unlike.tokens - before.tokens) < 10, "each model for itself"


@pytest.mark.requirement("counting:learns")
async def test_what_a_tool_of_the_provider_read_is_no_text_of_ours() -> None:
    async with scene([Turn("ok", usage=Tokens(input_tokens=3000))]) as s:
        first = s.runtime.estimator.rate(CLAUDE)
        for tools, learned in ((("web_search_20250305",), False), ((), True)):
            agent = Agent(CLAUDE, instructions="Be kind. " * 300, provider_tools=tools)
            assert (await soon((await s.runtime.start(agent, "go")).result())).status == "completed"
            assert (s.runtime.estimator.rate(CLAUDE) != first) is learned


@pytest.mark.requirement("counting:learns")
@pytest.mark.parametrize("how", ["picture", "unmetered", "short"])
async def test_what_says_nothing_about_text_teaches_nothing(how: str) -> None:
    png = Image("image/png", PIXEL)
    events = 'data: {"choices":[{"index":0,"delta":{"content":"ok"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    silent = Turn(raw=Canned(body=events, headers={"content-type": "text/event-stream"}))
    turn = silent if how == "unmetered" else Turn("ok", usage=Tokens(input_tokens=3000))
    async with scene([turn]) as s:
        agent = Agent(MODEL, instructions="" if how == "short" else "Be kind. " * 300)
        first = s.runtime.estimator.rate(MODEL)
        result = await soon((await s.runtime.start(agent, ["go", png] if how == "picture" else "go")).result())
        assert result.status == "completed"
        assert s.runtime.estimator.rate(MODEL) == first
        await soon((await s.runtime.start(agent, "go" * 2000)).result())
        assert (s.runtime.estimator.rate(MODEL) == first) is (how == "unmetered")
