"""A key that changes counts from the next call on: wherever it is from, in the middle of a run, without a restart."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.loopback import Request, Server, answer, serving
from tests.running import until
from tests.scenarios.test_model_keys import ADDRESSES, FIRST, KEYLESS, guarded, opened, said, sent_key

from holdfast import Agent, tool
from holdfast.models import signing
from holdfast.models.access.access import Access, Key
from holdfast.models.access.environment import Reading, same_in
from holdfast.models.access.fetching import Asked
from holdfast.models.access.oauth import ClientCredentials
from holdfast.models.access.servers import CustomServer
from holdfast.models.failures import Origin
from holdfast.testing import ScriptedModelServer
from holdfast.testing.scripts import Call, ScriptRequest, Turn

ORIGIN = Origin(provider="mine", model="m", url="http://127.0.0.1", key_variable="K", url_variable="U")


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in KEYLESS:
        monkeypatch.delenv(variable, raising=False)


def changed_by(change: Callable[[], object]) -> Any:
    """Returns a tool that changes something between two calls of a run."""

    @tool(effect="none")
    def turn_over() -> str:
        "Puts another key in the place of the old one."
        change()
        return "done"

    return turn_over


def calling(request: ScriptRequest) -> Turn:
    return Turn("hello") if request.answers else Turn(calls=[Call(name="turn_over")])


async def keys_of_a_run(server: ScriptedModelServer, agent: Agent, **more: Any) -> list[str]:
    """Returns the keys that a run of two calls sent, and the next run, each once."""
    async with opened(**more) as runtime:
        assert await said(runtime, agent) == "hello"
        assert await said(runtime, agent) == "hello"
    first, second, *_ = [sent_key(each.headers) for each in server.requests]
    assert {sent_key(each.headers) for each in server.requests[1:]} == {second}
    return [first, second]


# ---- the environment ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("safety:secret-rotation-seen")
@pytest.mark.parametrize("provider", FIRST)
async def test_a_key_in_the_environment_counts_from_the_next_call_of_the_same_run(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, path = ADDRESSES[provider]
    variable = FIRST[provider][0]
    async with ScriptedModelServer(calling) as server:
        monkeypatch.setenv(address, server.origin + path)
        monkeypatch.setenv(variable, "old")
        agent = Agent(f"{provider}/m", tools=[changed_by(lambda: monkeypatch.setenv(variable, "new"))])
        assert await keys_of_a_run(server, agent) == ["old", "new"]


@pytest.mark.requirement("safety:secret-rotation-seen")
@pytest.mark.parametrize("wire", ["chat", "messages", "responses", "gemini", "cohere", "ollama"])
async def test_the_key_and_the_headers_of_a_described_server_count_from_the_next_call(
    wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change() -> None:
        monkeypatch.setenv("MINE_KEY", "new")
        monkeypatch.setenv("MINE_TEAM", "blue")

    monkeypatch.setenv("MINE_KEY", "old")
    monkeypatch.delenv("MINE_TEAM", raising=False)
    path = "/v1" if wire in ("chat", "responses") else ""
    async with ScriptedModelServer(calling) as server:
        mine = CustomServer(
            wire=wire, url=server.origin + path, key_variables=("MINE_KEY",), headers={"X-Team": "MINE_TEAM"}
        )
        agent = Agent("mine/m", tools=[changed_by(change)])
        assert await keys_of_a_run(server, agent, access=Access(servers={"mine": mine})) == ["old", "new"]
    assert [each.headers.get("x-team") for each in server.requests[:2]] == [None, "blue"]


@pytest.mark.requirement("safety:secret-rotation-seen")
async def test_lines_of_headers_count_from_the_next_call_also_beside_a_registered_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = "ANTHROPIC_CUSTOM_HEADERS"
    async with ScriptedModelServer(calling) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.origin)
        monkeypatch.setenv(lines, "X-Gate: one")
        agent = Agent("anthropic/m", tools=[changed_by(lambda: monkeypatch.setenv(lines, "X-Gate: two"))])
        assert await keys_of_a_run(server, agent, access=Access(keys={"anthropic": "k"})) == ["k", "k"]
    assert [each.headers["x-gate"] for each in server.requests[:2]] == ["one", "two"]


@pytest.mark.requirement("safety:secret-rotation-seen")
async def test_a_new_key_never_goes_to_the_address_it_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedModelServer(calling) as old, ScriptedModelServer(calling) as new:

        def change() -> None:
            monkeypatch.setenv("OPENAI_BASE_URL", new.base_url)
            monkeypatch.setenv("OPENAI_API_KEY", "new")

        monkeypatch.setenv("OPENAI_BASE_URL", old.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "old")
        async with opened() as runtime:
            assert await said(runtime, Agent("openai/m", tools=[changed_by(change)])) == "hello"
    assert [sent_key(each.headers) for each in old.requests] == ["old"]
    assert [sent_key(each.headers) for each in new.requests] == ["new"]


@pytest.mark.requirement("safety:secret-rotation-seen")
async def test_a_key_that_is_taken_away_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    variable = "AZURE_OPENAI_API_KEY"  # nobody is asked without a key there, wherever it is
    async with ScriptedModelServer(calling) as server:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.origin)
        monkeypatch.setenv(variable, "old")
        agent = Agent("azure/m", tools=[changed_by(lambda: monkeypatch.delenv(variable))])
        async with opened() as runtime:
            result = await (await runtime.start(agent, "hi")).result()
    assert result.status == "failed"
    assert "set AZURE_OPENAI_API_KEY" in result.reason
    assert len(server.requests) == 1


@pytest.mark.requirement("safety:secret-rotation-seen")
async def test_many_runs_at_once_each_send_the_new_key_after_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedModelServer(calling) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "key-0")
        changes = iter(range(1, 1000))
        agent = Agent(
            "openai/m", tools=[changed_by(lambda: monkeypatch.setenv("OPENAI_API_KEY", f"key-{next(changes)}"))]
        )
        async with opened() as runtime:
            await asyncio.gather(*(said(runtime, agent) for _ in range(30)))
            await said(runtime, agent)
            assert sent_key(server.requests[-1].headers) == os.environ["OPENAI_API_KEY"]
            told = [int(sent_key(each.headers).removeprefix("key-")) for each in server.requests]
    assert max(told) == 31


@pytest.mark.requirement("safety:secret-rotation-seen")
def test_looking_whether_anything_changed_calls_nothing_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID")
    monkeypatch.setenv(names[0], "k")
    same = same_in(os.environ, {name: os.environ.get(name) for name in names})
    entered: list[str] = []

    def seen(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            entered.append(frame.f_code.co_name)

    sys.setprofile(seen)
    try:
        same()
    finally:
        sys.setprofile(None)
    assert len(entered) == 1, entered


_NAMES = st.sampled_from(["HOLDFAST_T_A", "HOLDFAST_T_B", "HOLDFAST_T_\u00e4"])
_VALUES = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.just("\udc80"))


@pytest.mark.requirement("safety:secret-rotation-seen")
@settings(deadline=None)
@given(before=st.dictionaries(_NAMES, _VALUES), after=st.dictionaries(_NAMES, _VALUES), own=st.booleans())
def test_an_environment_is_the_same_exactly_when_all_that_was_read_is(
    before: dict[str, str | None], after: dict[str, str | None], own: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        mine: Any = os.environ if own else {}

        def put(told: dict[str, str | None]) -> None:
            for name, value in told.items():
                if value is None:
                    mine.pop(name, None)
                else:
                    mine[name] = value

        for name in ("HOLDFAST_T_A", "HOLDFAST_T_B", "HOLDFAST_T_\u00e4"):
            patch.delenv(name, raising=False)  # and puts it back as it was
        put(before)
        reading = Reading(mine)
        reading.over = {"HOLDFAST_T_B": "x"}
        read = {name: reading.get(name) for name in ("HOLDFAST_T_A", "HOLDFAST_T_\u00e4")}
        assert reading.get("HOLDFAST_T_B") == "x"
        same = same_in(mine, reading.read)
        assert same()
        put(after)
        assert same() == (read == {name: mine.get(name) for name in read})
        put(dict.fromkeys(("HOLDFAST_T_A", "HOLDFAST_T_B", "HOLDFAST_T_\u00e4")))


# ---- functions and files --------------------------------------------------------------------------------------------


@pytest.mark.requirement("safety:secret-rotation-seen")
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("given_by", ["function", "async function", "file"])
@pytest.mark.parametrize("own", [False, True])
async def test_a_key_that_a_function_or_a_file_gives_counts_from_the_next_call(
    provider: str, given_by: str, own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text("old\n")

    async def later() -> str:
        await asyncio.sleep(0)
        return file.read_text()

    held = ["old"]
    kinds: dict[str, Key] = {"function": lambda: held[0], "async function": later, "file": file.read_text}
    key = kinds[given_by]

    def change() -> None:
        held[0] = "new"
        file.write_text("new\n")

    address, path = ADDRESSES[provider]
    async with ScriptedModelServer(calling) as server:
        monkeypatch.setenv(address, server.origin + path)
        more: Any = {"key": key} if own else {}
        agent = Agent(f"{provider}/m", tools=[changed_by(change)], **more)
        access = Access() if own else Access(keys={provider: key})
        assert await keys_of_a_run(server, agent, access=access) == ["old", "new"]


@pytest.mark.requirement("access:keys-from-functions")
async def test_a_function_that_takes_long_is_asked_once_for_all_who_came_before_it_was() -> None:
    asked, held = 0, asyncio.Event()

    async def later() -> str:
        nonlocal asked
        asked += 1
        mine = asked
        await held.wait()
        return f"key-{mine}"

    async with ScriptedModelServer(guarded({"key-1", "key-2", "key-3"})) as server:
        mine = CustomServer(wire="messages", url=server.origin)
        async with opened(access=Access(servers={"mine": mine}, keys={"mine": later})) as runtime:
            first = asyncio.create_task(said(runtime, Agent("mine/m")))
            await until(lambda: asked == 1)
            others = [asyncio.create_task(said(runtime, Agent("mine/m"))) for _ in range(20)]
            source: Any = runtime._bindings.models.source("mine", None, later)
            await until(lambda: len(source._asking._waiters or ()) == 20)
            held.set()
            assert set(await asyncio.gather(first, *others)) == {"hello"}
            assert await said(runtime, Agent("mine/m")) == "hello"
    keys = [each.headers["x-api-key"] for each in server.requests]
    assert sorted(keys) == ["key-1", *["key-2"] * 20, "key-3"]


@pytest.mark.requirement("access:keys-from-functions")
async def test_whoever_stops_waiting_for_a_function_leaves_the_others_an_answer() -> None:
    asked, held = 0, asyncio.Event()

    async def later() -> str:
        nonlocal asked
        asked += 1
        await held.wait()
        return f"key-{asked}"

    source = Asked(later)
    asking = [asyncio.create_task(source.token(ORIGIN)) for _ in range(3)]
    await until(lambda: asked == 1)
    asking[0].cancel()
    held.set()
    assert await asyncio.gather(*asking[1:]) == ["key-2", "key-2"]
    with pytest.raises(asyncio.CancelledError):
        await asking[0]


@pytest.mark.requirement("access:keys-from-functions")
@pytest.mark.parametrize("waits", [False, True])
async def test_a_function_is_asked_again_when_the_key_it_gave_was_refused(
    waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, accepted = "key-1", {"key-1"}
    answering = guarded(accepted)

    def now() -> str:
        return key

    async def later() -> str:
        await asyncio.sleep(0)
        return key

    def changing(request: ScriptRequest) -> Turn:
        nonlocal key  # what is asked with here is the old one, and by the answer there is another
        key = max(accepted, default=key)
        return answering(request)

    async with ScriptedModelServer(changing) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.origin)
        async with opened(access=Access(keys={"anthropic": later if waits else now})) as runtime:
            agent = Agent("anthropic/m")
            assert await said(runtime, agent) == "hello"
            accepted.clear()
            accepted.add("key-2")
            assert set(await asyncio.gather(*(said(runtime, agent) for _ in range(20)))) == {"hello"}
            asked = len(server.requests)
            accepted.clear()
            assert (await (await runtime.start(agent, "hi")).result()).status == "failed"
    keys = [each.headers["x-api-key"] for each in server.requests]
    assert keys[:2] == ["key-1", "key-1"]
    assert keys[:asked].count("key-2") == 20
    assert keys[asked:] == ["key-2"], "what is refused is not sent again where there is no other"


# ---- tokens and signatures ------------------------------------------------------------------------------------------


@pytest.mark.requirement("safety:secret-rotation-seen")
@pytest.mark.parametrize("send", ["basic", "body"])
async def test_a_token_that_was_given_for_an_old_secret_is_not_used_for_the_next_call(
    send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def giving(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        shown = base64.b64decode(request.headers.get("authorization", "")[6:]) + request.body
        (secret,) = re.findall(rb"secret-(?:old|new)", shown)
        writer.write(answer(b'{"access_token":"for-' + secret + b'","expires_in":3600}'))

    monkeypatch.setenv("MY_SECRET", "secret-old")
    async with ScriptedModelServer(calling) as server, serving(giving) as giver:
        oauth = ClientCredentials(token_url=f"{giver.url}/t", client_id="me", secret_variable="MY_SECRET", send=send)
        mine = CustomServer(wire="chat", url=server.base_url, oauth=oauth)
        agent = Agent("mine/m", tools=[changed_by(lambda: monkeypatch.setenv("MY_SECRET", "secret-new"))])
        keys = await keys_of_a_run(server, agent, access=Access(servers={"mine": mine}))
        assert keys == ["for-secret-old", "for-secret-new"]
        assert len(giver.requests) == 2, "a token is asked for once for each secret"


@pytest.fixture
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in (each for each in os.environ if each.startswith("AWS_")):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    signing._session.cache_clear()
    yield
    signing._session.cache_clear()


@pytest.mark.requirement("safety:secret-rotation-seen")
@pytest.mark.usefixtures("_machine")
@pytest.mark.parametrize("kept_in", ["environment", "file", "token"])
async def test_credentials_of_amazon_count_from_the_next_call(
    kept_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("botocore")

    def say(which: str) -> None:
        if kept_in == "environment":
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"AKID{which}")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"secret-{which}")
        elif kept_in == "token":
            monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", f"token-{which}")
        else:
            words = f"[default]\naws_access_key_id = AKID{which}\naws_secret_access_key = secret-{which}\n"
            beside = tmp_path / "beside"
            beside.write_text(words)
            beside.rename(tmp_path / "credentials")

    say("OLD")
    async with ScriptedModelServer(calling) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", server.origin)
        agent = Agent("bedrock/anthropic.claude", tools=[changed_by(lambda: say("NEW"))])
        async with opened() as runtime:
            assert await said(runtime, agent) == "hello"
            assert await said(runtime, agent) == "hello"
    sent = [each.headers["authorization"] for each in server.requests]
    assert [re.findall("OLD|NEW", each)[0] for each in sent[:2]] == ["OLD", "NEW"]
    assert all("NEW" in each for each in sent[1:])
