"""Which key and which headers reach a provider, over real HTTP, in whole runs."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from holdfast import Agent, Runtime, tool
from holdfast.errors import AuthFailed, InvalidRequest, UsageError
from holdfast.flow.clock import SystemClock
from holdfast.models.access.access import Access, Own
from holdfast.models.access.making import ModelMaker
from holdfast.models.catalogue import Facts
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.testing import ScriptedModelServer
from holdfast.testing.faults import Status
from holdfast.testing.scripts import Call, ScriptRequest, Turn

ADDRESSES = {
    "openai": ("OPENAI_BASE_URL", "/v1"),
    "openai-responses": ("OPENAI_BASE_URL", "/v1"),
    "anthropic": ("ANTHROPIC_BASE_URL", ""),
    "google": ("GOOGLE_GEMINI_BASE_URL", ""),
    "cohere": ("CO_API_URL", ""),
    "ollama": ("OLLAMA_HOST", ""),
    "azure": ("AZURE_OPENAI_ENDPOINT", ""),
    "azure-responses": ("AZURE_OPENAI_ENDPOINT", ""),
    "groq": ("GROQ_BASE_URL", "/v1"),
}
FIRST = {
    "openai": ("OPENAI_API_KEY", "authorization", "Bearer {}"),
    "openai-responses": ("OPENAI_API_KEY", "authorization", "Bearer {}"),
    "anthropic": ("ANTHROPIC_API_KEY", "x-api-key", "{}"),
    "google": ("GOOGLE_API_KEY", "x-goog-api-key", "{}"),
    "cohere": ("CO_API_KEY", "authorization", "Bearer {}"),
    "ollama": ("OLLAMA_API_KEY", "authorization", "Bearer {}"),
    "azure": ("AZURE_OPENAI_API_KEY", "api-key", "{}"),
    "azure-responses": ("AZURE_OPENAI_API_KEY", "api-key", "{}"),
    "groq": ("GROQ_API_KEY", "authorization", "Bearer {}"),
}
KEYLESS = (
    *("OPENAI_API_KEY", "OPENAI_CUSTOM_HEADERS", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    *("ANTHROPIC_CUSTOM_HEADERS", "GOOGLE_API_KEY", "GEMINI_API_KEY", "CO_API_KEY", "OLLAMA_API_KEY", "GROQ_API_KEY"),
)


def sent_key(headers: Mapping[str, str]) -> str:
    named = (headers.get(each, "") for each in ("authorization", "x-api-key", "x-goog-api-key", "api-key"))
    return ", ".join(each.removeprefix("Bearer ") for each in named if each)


def guarded(accepted: set[str], calls: int = 0) -> Callable[[ScriptRequest], Turn]:
    """Returns a script that answers whoever has one of the keys; the model calls a tool so many times first."""

    def answering(request: ScriptRequest) -> Turn:
        key = sent_key(request.headers)
        if key not in accepted:
            return Turn(fault=Status(status=401, message=f"{key!r} is no key"))
        return Turn(calls=[Call(name="turn_over")]) if request.answers < calls else Turn("hello")

    return answering


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in KEYLESS:
        monkeypatch.delenv(variable, raising=False)


def opened(**more: Any) -> Any:
    return Runtime.open("memory:", sandbox="none", **more)


async def said(runtime: Runtime, agent: Agent) -> str:
    async with asyncio.timeout(10):
        run = await runtime.start(agent, "hi")
        return (await run.result()).output


@pytest.mark.requirement("models:key-order")
@pytest.mark.parametrize("provider", FIRST)
async def test_an_agents_key_goes_before_a_registered_one_and_that_before_the_environments(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, path = ADDRESSES[provider]
    variable, header, form = FIRST[provider]
    async with ScriptedModelServer(guarded({"own-key", "registered-key", "env-key"})) as server:
        monkeypatch.setenv(address, server.origin + path)
        monkeypatch.setenv(variable, "env-key")
        monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer other-key\nX-More: 1")
        monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-api-key: other-key\nX-More: 1")
        model = f"{provider}/m"
        async with opened(access=Access(keys={provider: "registered-key"})) as runtime:
            assert await said(runtime, Agent(model, key="own-key")) == "hello"
            assert await said(runtime, Agent(model)) == "hello"
        monkeypatch.delenv("OPENAI_CUSTOM_HEADERS")
        monkeypatch.delenv("ANTHROPIC_CUSTOM_HEADERS")
        async with opened() as runtime:
            assert await said(runtime, Agent(model)) == "hello"
        keys = [each.headers[header] for each in server.requests]
        assert keys == [form.format(f"{each}-key") for each in ("own", "registered", "env")]
        assert [sent_key(each.headers) for each in server.requests] == ["own-key", "registered-key", "env-key"]


@pytest.mark.requirement("models:key-order")
async def test_googles_own_variable_goes_before_geminis(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedModelServer(guarded({"one", "two"})) as server:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.origin)
        monkeypatch.setenv("GEMINI_API_KEY", "two")
        async with opened() as runtime:
            await said(runtime, Agent("google/m"))
            monkeypatch.setenv("GOOGLE_API_KEY", "one")
            await said(runtime, Agent("google/m"))
        assert [each.headers["x-goog-api-key"] for each in server.requests] == ["two", "one"]


@pytest.mark.requirement("models:key-order")
async def test_one_key_for_models_of_several_providers_is_refused_and_keys_by_provider_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ScriptedModelServer(guarded({"a-key"})) as server, opened() as runtime:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.origin)
        with pytest.raises(UsageError, match="'anthropic': …, 'openai': …") as caught:
            await runtime.start(Agent("openai/m,anthropic/m", key="a-key"), "hi")
        assert "a-key" not in str(caught.value)
        agent = Agent("openai/m,anthropic/m", key={"openai": "a-key", "anthropic": "other-key"})
        assert await said(runtime, agent) == "hello"


@pytest.mark.requirement("access:keys-stay-in-process")
async def test_an_agents_key_is_in_no_spec_log_text_or_error(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sk-never-shown-5309"
    async with ScriptedModelServer(guarded(set())) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        agent = Agent("openai/m", key=secret, headers={"X-Gateway": secret + "-2"})
        access = Access(keys={"openai": secret}, headers={"openai": {"X-Team": secret + "-3"}})
        async with opened(access=access) as runtime:
            run = await runtime.start(agent, "hi", session="s")
            result = await run.result()
            assert result.status == "failed"
            assert "Agent(key=…)" in result.reason
            log = [msgspec.json.encode(each) async for each in run.events()]
        assert sent_key(server.requests[0].headers) == secret
        shown = [result.reason, log, agent.encoded, vars(agent), repr(agent), access, str(access), repr(access)]
        assert secret not in repr(shown)
        for each in (access, agent.own):
            with pytest.raises(TypeError, match="not written down"):
                pickle.dumps(each)


@pytest.mark.requirement("access:keys-stay-in-process")
async def test_a_session_without_its_agent_at_hand_never_takes_another_agents_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ScriptedModelServer(guarded({"key-of-one", "key-of-two", "env-key"})) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "env-key")
        one, two = Agent("openai/m", key="key-of-one"), Agent("openai/m", key="key-of-two")
        assert one.digest == two.digest
        async with opened() as runtime:
            await asyncio.gather(*(said(runtime, each) for each in (one, two, one, two)))
            held = await runtime._bindings.agent(runtime._tenant, one.digest)
            assert held.own is None
            assert await said(runtime, Agent("openai/m")) == "hello"
        keys = sorted(sent_key(each.headers) for each in server.requests)
        assert keys == ["env-key", "key-of-one", "key-of-one", "key-of-two", "key-of-two"]


@pytest.mark.requirement("models:headers-both-sent")
@pytest.mark.parametrize("provider", FIRST)
async def test_a_header_of_the_provider_and_of_the_agent_reaches_the_server_with_both_values(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, path = ADDRESSES[provider]
    async with ScriptedModelServer(guarded({"k"})) as server:
        monkeypatch.setenv(address, server.origin + path)
        access = Access(keys={provider: "k"}, headers={provider: {"X-Team": "one", "x-only": "there"}})
        async with opened(access=access) as runtime:
            await said(runtime, Agent(f"{provider}/m", headers={"x-team": "two", "X-Mine": "too"}))
            await said(runtime, Agent(f"{provider}/m"))
    first, second = (each.headers for each in server.requests)
    assert (first["x-team"], first["x-only"], first["x-mine"]) == ("one, two", "there", "too")
    assert (second["x-team"], second.get("x-mine")) == ("one", None)
    assert first["content-type"] == "application/json"


async def test_a_header_that_the_provider_sends_anyway_has_both_values(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedModelServer(guarded({"k"})) as server, opened() as runtime:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.origin)
        monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "anthropic-beta: one")
        await said(runtime, Agent("anthropic/m", key="k", headers={"anthropic-beta": "two"}, temperature=0.5))
    assert server.requests[0].headers["anthropic-beta"] == "one, two"


@pytest.mark.requirement("access:headers-refused")
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("Authorization", "Bearer x-secret", "replace the key"),
        ("x-api-key", "x-secret", "replace the key"),
        ("X-Goog-Api-Key", "x-secret", "replace the key"),
        ("api-key", "x-secret", "replace the key"),
        ("Content-Length", "1", "how a request is read"),
        ("transfer-encoding", "chunked", "how a request is read"),
        ("Host", "x.example", "how a request is read"),
        ("X-A", "x-secret\r\nX-B: c", "cannot be sent"),
        ("X-A", "x-secret-ä", "cannot be sent"),
        ("X A", "v", "cannot be the name"),
        ("", "v", "cannot be the name"),
    ],
)
def test_a_header_that_would_replace_the_key_or_break_the_framing_is_refused(name: str, value: str, said: str) -> None:
    for made in (
        lambda: Agent("openai/m", headers={name: value}),
        lambda: Access(headers={"openai": {name: value}}),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            made()
        assert "x-secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "  ", "sk-ä-secret", "sk-\nsecret", 7, None])
def test_what_is_no_key_is_refused_where_it_is_given_and_not_shown(key: Any) -> None:
    with pytest.raises(UsageError, match=r"no key|holds nothing") as caught:
        Access(keys={"openai": key})
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="did you mean 'openai'"):
        Access(keys={"opnai": "k"})


# ---- keys that change -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("access:rotation")
async def test_a_key_that_is_changed_between_two_runs_counts_from_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = {"old"}
    async with ScriptedModelServer(guarded(accepted)) as server, opened() as runtime:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "old")
        agent = Agent("openai/m")
        assert await said(runtime, agent) == "hello"
        monkeypatch.setenv("OPENAI_API_KEY", "new")
        accepted.add("new")
        assert await said(runtime, agent) == "hello"
        assert [sent_key(each.headers) for each in server.requests] == ["old", "new"]


@pytest.mark.requirement("access:rotation")
@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "cohere", "azure"])
async def test_a_key_that_is_changed_while_a_call_is_under_way_is_found_when_the_old_one_is_refused(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, path = ADDRESSES[provider]
    accepted = {"old"}
    answering = guarded(accepted, calls=1)

    @tool(effect="none")
    def turn_over() -> str:
        "Does nothing."
        return "done"

    def changing(request: ScriptRequest) -> Turn:
        if request.answers == 1 and "old" in accepted:
            accepted.clear()
            accepted.add("new")
            monkeypatch.setenv(FIRST[provider][0], "new")
        return answering(request)

    async with ScriptedModelServer(changing) as server, opened() as runtime:
        monkeypatch.setenv(address, server.origin + path)
        monkeypatch.setenv(FIRST[provider][0], "old")
        agent = Agent(f"{provider}/m", tools=[turn_over])
        run = await runtime.start(agent, "hi", session="s")
        result = await run.result()
        assert result.output == "hello"
        assert [sent_key(each.headers) for each in server.requests] == ["old", "old", "new"]
        assert result.steps == 2, "what was refused is no step of the run"
        assert await said(runtime, agent) == "hello"
        assert [sent_key(each.headers) for each in server.requests[3:]] == ["new", "new"]


@pytest.mark.requirement("access:rotation")
async def test_a_refused_key_is_not_sent_again_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedModelServer(guarded(set())) as server, opened() as runtime:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "wrong-one")
        run = await runtime.start(Agent("openai/m"), "hi")
        result = await run.result()
        assert result.status == "failed"
        assert "OPENAI_API_KEY" in result.reason
        assert "wrong-one" not in result.reason
        assert len(server.requests) == 1


# ---- what is loaded and kept ---------------------------------------------------------------------------------------


@pytest.mark.requirement("models:provider-types")
@pytest.mark.parametrize("provider", [*FIRST, "bedrock"])
async def test_every_kind_of_provider_is_built_from_the_environment_and_says_what_it_lacks(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with HttpClient(TRUSTED) as client:
        lacking = ModelMaker(client, SystemClock(), env={}).find(f"{provider}/m")[0]
        if provider not in ("ollama", "bedrock"):  # one wants no key, one finds what the machine has
            with pytest.raises((AuthFailed, InvalidRequest), match=r"set [A-Z_]+"):
                lacking.check()
        env = {FIRST[provider][0]: "k"} if provider in FIRST else {"AWS_REGION": "eu-central-1"}
        if provider.startswith("azure"):
            env["AZURE_OPENAI_ENDPOINT"] = "https://r.example"
        maker = ModelMaker(client, SystemClock(), env=env)
        model, _ = maker.find(f"{provider}/m")
        model.check()
        assert model.name == f"{provider}/m"
        assert maker.find(f"{provider}/m")[0] is model, "it is made once"


def test_own_keys_compare_by_who_has_them() -> None:
    one, two = Own("k", None), Own("k", None)
    assert len({one, two}) == 2
    assert "k" not in repr(one).removeprefix("Own")


async def test_facts_and_prices_go_before_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"openai/mine": Facts(input=1.0, output=2.0, context_window=9000)}
    async with HttpClient(TRUSTED) as client:
        model, card = ModelMaker(client, SystemClock(), facts=facts, env={}).find("openai/mine")
    assert model.price is not None
    assert card is not None
    assert card.context_window == 9000


async def test_a_model_keeps_what_it_learned_when_its_key_changes() -> None:
    env = {"OPENAI_API_KEY": "old"}
    async with HttpClient(TRUSTED) as client:
        maker = ModelMaker(client, SystemClock(), env=env)
        model: Any = maker.find("openai/m")[0].fresh()
        learned, encoder = object(), model._encoder
        model.estimator = learned
        assert not await model.keeper.renewed(model, 401), "it is the same key"
        env["OPENAI_API_KEY"] = "new"
        assert await model.keeper.renewed(model, 401)
        assert (model.estimator, model._encoder, model.origin.secret) == (learned, encoder, "new")
        assert model.pace is maker.find("openai/m")[0].pace  # type: ignore[attr-defined] - of HttpModel
        for said in ("", "k\u00e4y"):
            env["OPENAI_API_KEY"] = said
            assert not await model.keeper.renewed(model, 401), "no key is none that could be tried"
            assert model.origin.secret == "new"
