"""Servers that people describe themselves: what is refused when, and whole runs against them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Agent, Runtime
from holdfast.errors import UsageError
from holdfast.models.access.access import Access
from holdfast.models.access.oauth import ClientCredentials
from holdfast.models.access.servers import CustomServer, read_servers
from holdfast.models.providers import finding
from holdfast.testing import ScriptedModelServer
from holdfast.testing.scripts import Turn

WIRES = {"chat": "/v1", "messages": "", "responses": "/v1", "gemini": "", "cohere": "", "ollama": ""}
KEYS = {"messages": ("x-api-key", "the-key"), "gemini": ("x-goog-api-key", "the-key")}
URL = "http://127.0.0.1:9"


@pytest.mark.requirement("models:custom-provider")
@pytest.mark.parametrize("wire", WIRES)
async def test_a_run_with_a_described_server_speaks_its_protocol_with_its_key_and_headers(
    wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE_SECOND", "the-key")
    monkeypatch.setenv("MINE_TEAM", "blue")
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "CO_API_KEY", "OLLAMA_API_KEY"):
        monkeypatch.setenv(variable, "another-key")
    async with ScriptedModelServer([Turn("hello")]) as server:
        mine = CustomServer(
            wire=wire,
            url=server.origin + WIRES[wire] + "/",
            key_variables=("MINE_FIRST", "MINE_SECOND"),
            headers={"X-Team": "MINE_TEAM", "X-Unset": "MINE_UNSET"},
        )
        async with Runtime.open("memory:", sandbox="none", access=Access(servers={"mine": mine})) as runtime:
            run = await runtime.start(Agent("mine/some/model"), "hi")
            async with asyncio.timeout(10):
                result = await run.result()
        assert result.output == "hello"
        assert list(result.models) == ["mine/some/model"]
        assert result.cost is None, "nobody knows what it costs"
        headers = server.requests[0].headers
        header, value = KEYS.get(wire, ("authorization", "Bearer the-key"))
        assert (headers[header], headers["x-team"], "x-unset" in headers) == (value, "blue", False)
        server.verify()


@pytest.mark.requirement("models:custom-provider")
@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"url": URL}, "servers.mine: wire is missing"),
        ({"wire": "chat"}, "servers.mine: url is missing"),
        ({"wire": "chat", "url": " "}, "servers.mine: url is missing"),
        ({"wire": "chat", "url": "ftp://x"}, "servers.mine.url is no address"),
        ({"wire": "chat", "url": "localhost:80"}, "servers.mine.url is no address"),
        ({"wire": "chat", "url": "http://me:secret@x/"}, "servers.mine.url is no address"),
        ({"wire": "chat", "url": "http://x/?key=secret"}, "servers.mine.url is no address"),
        ({"wire": "chat", "url": URL, "key_variables": ("sk-secret",)}, "named by the variable"),
        ({"wire": "chat", "url": URL, "headers": {"X-A": "secret value"}}, "named by the variable"),
        ({"wire": "chat", "url": URL, "headers": {"Content-Length": "A"}}, "servers.mine.headers.*how a request"),
        (
            {"wire": "chat", "url": URL, "headers": {"Authorization": "A"}, "key_variables": ("K",)},
            "servers.mine.headers.*replace the key",
        ),
        ({"wire": "chat", "url": URL, "compat": {"stor": True}}, "did you mean 'store'"),
        ({"wire": "chat", "url": URL, "compat": {"thinking": "loud"}}, "servers.mine.compat"),
        ({"wire": "messages", "url": URL, "compat": {"store": True}}, "only servers that speak chat"),
    ],
)
def test_a_server_that_lacks_something_is_refused_when_it_is_registered(told: dict[str, Any], words: str) -> None:
    for register in (
        lambda: Access(servers={"mine": CustomServer(**told)}),
        lambda: read_servers({"mine": told}, finding.PROVIDERS),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            register()
        assert "secret" not in str(caught.value)


@pytest.mark.requirement("models:custom-provider")
async def test_a_protocol_that_nobody_speaks_is_an_error_when_it_is_first_used() -> None:
    access = Access(servers={"mine": CustomServer(wire="mesages", url=URL), "good": CustomServer(wire="chat", url=URL)})
    async with Runtime.open("memory:", sandbox="none", access=access) as runtime:
        with pytest.raises(UsageError, match=r"'mine' speaks 'mesages'.*did you mean 'messages'"):
            await runtime.start(Agent("mine/m"), "hi")
        runtime._bindings.models.find("good/m")


@pytest.mark.requirement("models:custom-provider")
async def test_a_provider_is_replaced_only_where_that_is_said() -> None:
    with pytest.raises(UsageError, match=r"'groq' is a provider already.*replaces"):
        Access(servers={"groq": CustomServer(wire="chat", url=URL)})
    async with ScriptedModelServer([Turn("hello")]) as server:
        mine = CustomServer(wire="messages", url=server.origin, replaces=True)
        async with Runtime.open("memory:", sandbox="none", access=Access(servers={"groq": mine})) as runtime:
            run = await runtime.start(Agent("groq/m"), "hi")
            assert (await run.result()).output == "hello"
        assert server.requests[0].target == "/v1/messages"


async def test_a_server_that_needs_a_key_says_which_and_takes_one_that_is_registered() -> None:
    async with ScriptedModelServer([Turn("hello")]) as server:
        named = CustomServer(wire="chat", url=server.base_url, key_variables=("MINE_KEY",))
        unnamed = CustomServer(wire="messages", url=server.origin, needs_key=True)
        for name, mine, words in (("a", named, "set MINE_KEY$"), ("b", unnamed, "Access")):
            async with Runtime.open("memory:", sandbox="none", access=Access(servers={name: mine})) as runtime:
                with pytest.raises(Exception, match=words):
                    await runtime.start(Agent(f"{name}/m"), "hi")
            access = Access(servers={name: mine}, keys={name: "given"})
            async with Runtime.open("memory:", sandbox="none", access=access) as runtime:
                run = await runtime.start(Agent(f"{name}/m"), "hi")
                assert (await run.result()).output == "hello"
    sent = [each.headers.get("authorization") or each.headers["x-api-key"] for each in server.requests]
    assert sent == ["Bearer given", "given"]


async def test_a_credential_may_stand_in_a_header_where_there_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE_BASIC", "Basic bWU6eW91")
    async with ScriptedModelServer([Turn("hello")]) as server:
        mine = CustomServer(wire="chat", url=server.base_url, headers={"Authorization": "MINE_BASIC"})
        async with Runtime.open("memory:", sandbox="none", access=Access(servers={"mine": mine})) as runtime:
            for agent in (Agent("mine/m"), Agent("mine/m", key="own")):
                run = await runtime.start(agent, "hi")
                assert (await run.result()).output == "hello"
    assert [each.headers["authorization"] for each in server.requests] == ["Basic bWU6eW91", "Bearer own"]


@pytest.mark.requirement("models:provider-types")
def test_settings_describe_servers_with_all_their_fields() -> None:
    told = {
        "gate": {
            "wire": "chat",
            "url": "https://gate.example/v1",
            "key_variables": ["GATE_KEY"],
            "needs_key": False,
            "headers": {"X-Team": "TEAM"},
            "compat": {"thinking": "none", "max_tokens_field": "max_tokens"},
            "oauth": {"token_url": "https://id.example/t", "client_id": "me", "secret_variable": "GATE_SECRET"},
        },
        "groq": {"wire": "chat", "url": "https://mirror.example/v1", "replaces": True},
    }
    found = read_servers(told, finding.PROVIDERS)
    assert found["gate"].oauth == ClientCredentials(
        token_url="https://id.example/t", client_id="me", secret_variable="GATE_SECRET"
    )
    assert found["gate"].key_variables == ("GATE_KEY",)
    assert found["groq"].replaces
    wrong = [({"urll": "x"}, "did you mean 'url'"), ({"wire": 7}, "servers.gate"), (["x"], "names with values")]
    for fields, words in wrong:
        with pytest.raises(UsageError, match=words):
            read_servers({"gate": fields}, finding.PROVIDERS)
    with pytest.raises(UsageError, match="servers: names with values"):
        read_servers("x", finding.PROVIDERS)
