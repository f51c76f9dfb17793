"""Conversations that were had elsewhere go on in a session, and tools of whoever asked are waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, asked, of, scene, seen, soon

from holdfast import Agent
from holdfast.engine.events import ToolWaiting
from holdfast.errors import InputTooLarge, PolicyDenied, UnknownModel, UnknownSession, UsageError
from holdfast.ledger.amounts import Cap
from holdfast.ledger.port import Denied
from holdfast.runtime.bound import BoundAgent
from holdfast.runtime.receiving import conversing
from holdfast.testing import Turn
from holdfast.testing.scripts import Call
from holdfast.tools.authorising.policy import Policy
from holdfast.tools.elsewhere.clients import client_tool
from holdfast.types import (
    AgentSpec,
    AssistantMessage,
    CallId,
    Image,
    Limits,
    Message,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)


def user(text: str) -> UserMessage:
    return UserMessage((Text(text),))


CALLED = AssistantMessage((Text("so"), ToolCall(CallId("c1"), "look", "{}")), "p/m", "tool_calls")
HAD: list[Message] = [
    user("hi"),
    CALLED,
    ToolMessage(CallId("c1"), "look", "seen"),
    AssistantMessage((Text("ho"),), "p/m"),
]


@pytest.mark.requirement("server_models:continued")
async def test_a_conversation_becomes_the_sessions_own_and_is_answered() -> None:
    async with scene([Turn("never"), Turn("never"), Turn("three"), Turn("four")]) as here:
        run = await here.runtime.go_on(Agent(MODEL), [*HAD, user("on")], session="s")
        assert (await soon(run.result())).output == "three"
        sent = [(each["role"], each.get("content")) for each in asked(here.server)[-1]]
        assert sent == [("user", "hi"), ("assistant", "so"), ("tool", "seen"), ("assistant", "ho"), ("user", "on")]
        again = await here.runtime.start(Agent(MODEL), "more", session="s")
        assert (await soon(again.result())).output == "four"
        assert len(await here.runtime.conversation("s")) == 8
        assert len(await here.runtime.conversation("s", at=1)) == 0
        with pytest.raises(UnknownSession):
            await here.runtime.conversation("nobody")


@pytest.mark.requirement("server_models:continued")
async def test_a_conversation_may_end_with_results_of_calls_and_survives_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    async with scene([Turn("never"), Turn("two", delay=3600)], url=url) as here:
        run = await here.runtime.go_on(Agent(MODEL), HAD[:3], session="s")
        await seen(run, "run.started")
    async with scene([Turn("never"), Turn("two")], url=url) as here:
        run = await here.runtime.resume("s")
        assert (await soon(run.result())).output == "two"
        assert [each["role"] for each in asked(here.server)[-1]] == ["user", "assistant", "tool"]


@pytest.mark.requirement("server_models:continued")
async def test_a_conversation_that_cannot_be_answered_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene([Turn("never")]) as here:
        wrong: list[tuple[list[Message], type[Exception]]] = [
            ([], UsageError),
            (HAD, UsageError),
            ([UserMessage((Image("image/png", b""),)), user("on")], UsageError),
            ([user("\ud800"), CALLED, user("on")], UsageError),
        ]
        for conversation, kind in wrong:
            with pytest.raises(kind):
                await here.runtime.go_on(Agent(MODEL), conversation, session="s")
        monkeypatch.setattr(conversing, "HISTORY_BYTES", 50)
        with pytest.raises(InputTooLarge):
            await here.runtime.go_on(Agent(MODEL), [user("x" * 60), CALLED, user("on")], session="s")
        assert not await here.runtime.exists("s")


@pytest.mark.requirement("server_models:tenants")
async def test_what_was_taken_in_can_be_taken_out_of_the_log_and_counts_for_tokens() -> None:
    async with scene([Turn("never"), Turn("never"), Turn("three")]) as here:
        run = await here.runtime.go_on(Agent(MODEL), [user("a secret word"), HAD[3], user("on")], session="s")
        await soon(run.result())
        await here.runtime.scrub("s", match="secret")
        assert "secret" not in str(await here.log())
        few = await here.runtime.count_tokens(Agent(MODEL), "on")
        many = await here.runtime.count_tokens(Agent(MODEL), "on", history=HAD * 9)
        assert many.tokens > few.tokens + 30


def with_tool(**more: Any) -> BoundAgent:
    """Returns an agent with a tool of whoever asks."""
    tool = client_tool("add", "Adds.", {"type": "object"})
    return BoundAgent.again(AgentSpec(model=MODEL, tools=(tool.spec,), **more), (tool,))


async def waits(here: Scene, run: Any) -> ToolWaiting:
    await seen(run, "tool.waiting")
    (found,) = of(ToolWaiting, await here.log())
    return found


@pytest.mark.requirement("server_models:survives")
@pytest.mark.parametrize("arguments", ['{"a": 1}', "not json at all"])
async def test_a_call_of_a_clients_tool_is_handed_out_as_it_was_written_also_after_a_restart(
    arguments: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    script = [Turn(calls=[Call("add", arguments)]), Turn("done")]
    async with scene(script, url=url) as here:
        run = await here.runtime.start(with_tool(), "go", session="s", mode="ask")
        waiting = await waits(here, run)
        assert (waiting.wait.kind, waiting.wait.subject) == ("callback", "client:")
    async with scene(script, url=url) as here:
        run = here.runtime.run("s", run.key)
        await run.answer(waiting.wait.token, "x" * 60_000)
        await here.runtime.wake("s")
        assert (await soon(run.result())).output == "done"
        assert len(asked(here.server)[-1][-1]["content"]) == 60_000


@pytest.mark.requirement("server_models:disconnected")
async def test_a_client_that_never_comes_back_costs_no_more_than_the_time_of_the_run() -> None:
    async with scene([Turn(calls=[Call("add", {})])]) as here:
        run = await here.runtime.start(with_tool(), "go", session="s", limits=Limits(seconds=0.2))
        result = await soon(run.result())
        assert (result.status, result.reason, len(here.server.requests)) == ("limited", "seconds", 1)


@pytest.mark.requirement("server_models:passes-through")
@pytest.mark.parametrize(
    ("more", "choice"),
    [({"must_call": ""}, "required"), ({"may_call": False}, "none"), ({"may_call": False, "must_call": "add"}, "none")],
)
async def test_an_agent_may_be_bound_to_call_its_tools_or_to_call_none(more: dict[str, Any], choice: str) -> None:
    async with scene([Turn("well")]) as here:
        await soon((await here.runtime.start(with_tool(**more), "go")).result())
        body: Any = here.server.requests[-1].json()
        assert body["tool_choice"] == choice


@pytest.mark.requirement("server_models:embeddings", "server_models:capped")
async def test_vectors_are_paid_for_out_of_the_caps_of_whoever_asks() -> None:
    async with scene([Turn("x")], policy=Policy(allowed_models=("openai/*",))) as here:
        assert here.runtime.governed
        assert here.runtime.models_of(MODEL) == [MODEL]
        made = await here.runtime.embed("openai/text-embedding-3-small", ["a", "b"])
        assert not isinstance(made, Denied)
        assert len(made.embeddings) == 2
        await here.runtime.ledger.set_caps(("local",), [Cap(tokens=1000)])
        await here.runtime.embed("openai/text-embedding-3-small", ["some words"])
        balance = await here.runtime.ledger.balance(("local",))
        assert (0 < balance.settled.tokens < 20, balance.open.tokens) == (True, 0)
        denied = await here.runtime.embed("openai/text-embedding-3-small", ["word " * 1000])
        assert isinstance(denied, Denied)
        with pytest.raises(UnknownModel):
            await here.runtime.embed("local//etc", ["a"])
        with pytest.raises(PolicyDenied):
            await here.runtime.go_on(Agent("anthropic/x"), [user("hi")])
