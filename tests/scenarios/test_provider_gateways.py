"""Each provider in whole runs against a recorded server: its path, headers, tools, usage, and names that change."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from tests.gateways import GATEWAYS, Gateway
from tests.loopback import Request, Server, answer, serving
from tests.recorded import WIRES, Asks, Wire
from tests.running import soon

from holdfast import Agent, Runtime, tool
from holdfast.engine.events import ModelFinished
from holdfast.errors import ConnectionBroken, ModelError
from holdfast.flow.clock import SystemClock
from holdfast.models.access.access import Access
from holdfast.models.access.custom import WIRES as SPOKEN
from holdfast.models.access.making import ModelMaker
from holdfast.models.access.servers import CustomServer
from holdfast.models.port import ModelRequest
from holdfast.models.providers.table import TABLE
from holdfast.types import Event, Text, Usage, UserMessage

KEY = "key-of-mine-4711"
LONG = "x" * 140
NAMES = ("files.read v2", "files_read_v2", "files read/v2", LONG, LONG + "y", "größe", "...")
TURNS = ((0,), (2, 3), (1, 4, 5, 6), ())
"""Which of them the model calls in each of its answers."""


def sent_names(longest: int) -> list[str]:
    """Returns the names as they are sent: what is refused becomes one underscore, and nothing is there twice."""
    cut = "x" * longest
    return ["files_read_v2_2", "files_read_v2", "files_read_v2_3", cut, cut[:-2] + "_2", "gr_e", "tool"]


def named(name: str) -> Any:
    """Returns a tool of any name, as one is that another program offers; it says its own name and what it was given."""

    @tool(effect="none")
    def read(path: str) -> str:
        "Reads."
        return f"{name}|{path}"

    return msgspec.structs.replace(read, spec=msgspec.structs.replace(read.spec, name=name))


def call_of(turn: int, index: int, longest: int) -> Asks:
    return Asks(f"call{turn}x{index}q", sent_names(longest)[index], f'{{"path":"{turn}/{index}"}}')


@asynccontextmanager
async def recorded(wire: Wire, used: Any) -> AsyncGenerator[Server]:
    """Yields a server that plays the turns to whoever asks, one after the other, and then a word."""

    async def playing(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        turn = len(server.requests) - 1
        indices = TURNS[turn] if turn < len(TURNS) else ()
        calls = [call_of(turn, index, wire.longest) for index in indices]
        writer.write(answer(wire.say("" if calls else "hello", calls, used), headers=f"Content-Type: {wire.media}\r\n"))

    async with serving(playing) as server:
        yield server


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for provider in TABLE.values():
        told = provider.described()
        for variable in (*told.key_variables, told.url_variable, told.headers_variable):
            if variable:
                monkeypatch.delenv(variable, raising=False)
    for variable in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_API_VERSION", "GOOGLE_GENAI_API_VERSION"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(variable, raising=False)
    yield


async def talked(runtime: Runtime, model: str) -> tuple[list[Event], list[Usage]]:
    """Returns the events of a run with tools of every name, and what each answer used; a second run follows it."""
    agent = Agent(model, tools=[named(name) for name in NAMES])
    events: list[Event] = []
    for prompt in ("hi", "again"):
        run = await runtime.start(agent, prompt, session="s")
        result = await soon(run.result(), 20)
        assert (result.status, result.output) == ("completed", "hello"), result.reason
        events += [each async for each in run.events() if isinstance(each, Event)]
    return events, [each.data.message.usage for each in events if isinstance(each.data, ModelFinished)]


def check_names(wire: Wire, server: Server, events: list[Event]) -> None:
    """Checks that each request offers the sent names, that calls came back under the own ones, and go back as sent."""
    sent = sent_names(wire.longest)
    own: list[str] = []
    for event in events:
        if isinstance(event.data, ModelFinished):
            own += [call.name for call in event.data.message.calls]
    order = [index for turn in TURNS for index in turn]
    assert own == [NAMES[index] for index in order]
    for number, request in enumerate(server.requests):
        body = msgspec.json.decode(request.body)
        assert list(wire.offered(body)) == [wire.tool(name) for name in sent]
        before = [(turn, index) for turn, all in enumerate(TURNS[:number]) for index in all]
        assert list(wire.called(body)) == [sent[index] for _, index in before]
        results = wire.results(body)
        assert [content for _, content in results] == [f"{NAMES[index]}|{turn}/{index}" for turn, index in before]
        assert {name for name, _ in results} - {None} <= {sent[index] for _, index in before}
    assert len(server.requests) == len(TURNS) + 1, "the conversation goes on in a second run"


def check_sent(row: Gateway, server: Server) -> None:
    """Checks where requests went, and with which headers."""
    parts = urlsplit(row.official)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    header, form = row.auth
    wanted = {"content-type": "application/json", **row.headers, header: form.format(key=KEY)}
    for request in server.requests:
        assert request.line == f"POST {target} HTTP/1.1"
        for name, pattern in wanted.items():
            assert re.fullmatch(pattern, request.headers[name]), (name, request.headers[name])
        others = {"authorization", "x-api-key", "api-key", "x-goog-api-key"} - {header}
        assert not others & set(request.headers), "the key is sent once"
        assert KEY not in request.line


@pytest.mark.requirement("models:provider-gateways")
@pytest.mark.parametrize("provider", GATEWAYS)
async def test_a_run_asks_each_provider_where_and_how_it_is_asked_and_reads_what_it_says(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = GATEWAYS[provider]
    wire = WIRES[row.wire]
    async with recorded(wire, row.used) as server:
        for variable, value in {row.key: KEY, row.address[0]: server.url + row.address[1], **row.env}.items():
            monkeypatch.setenv(variable, value)
        name = {"azure, by token": "azure-responses"}.get(provider, provider.partition(",")[0])
        async with Runtime.open("memory:", sandbox="none") as runtime:
            events, used = await talked(runtime, f"{name}/m")
    check_sent(row, server)
    check_names(wire, server, events)
    assert used == [row.usage or wire.usage] * (len(TURNS) + 1)


@pytest.mark.requirement("models:provider-gateways")
@pytest.mark.parametrize("wire", SPOKEN)
async def test_a_server_that_somebody_described_is_asked_as_its_protocol_says(
    wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    like = next(row for row in GATEWAYS.values() if row.wire == wire)
    row = like._replace(headers={**{k: v for k, v in like.headers.items() if "openai" not in k}, "x-team": "blue"})
    monkeypatch.setenv("MINE_KEY", KEY)
    monkeypatch.setenv("MINE_TEAM", "blue")
    async with recorded(WIRES[wire], {}) as server:
        mine = CustomServer(
            wire=wire,
            url=server.url + row.address[1],
            key_variables=("MINE_KEY",),
            headers={"X-Team": "MINE_TEAM"},
        )
        async with Runtime.open("memory:", sandbox="none", access=Access(servers={"mine": mine})) as runtime:
            events, used = await talked(runtime, "mine/m")
    check_sent(row, server)
    check_names(WIRES[wire], server, events)
    assert used == [WIRES[wire].usage] * (len(TURNS) + 1)


class Nowhere:
    """A client that reaches nobody, and writes down whom it was to reach."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def post(self, url: str, body: bytes, headers: Any) -> Any:
        self.asked.append(url)
        raise ConnectionBroken("nobody is reached")


@pytest.mark.requirement("models:provider-gateways")
@pytest.mark.parametrize("provider", GATEWAYS)
async def test_each_provider_is_asked_at_its_own_address_unless_somebody_says_another(provider: str) -> None:
    row = GATEWAYS[provider]
    env = {row.key: KEY, **row.env}
    if row.address[0] == "AZURE_OPENAI_ENDPOINT":  # everybody has an address of their own there
        env[row.address[0]] = "https://r.openai.azure.com"
    if provider.startswith("bedrock"):
        env["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = "true"
    client: Any = Nowhere()
    name = {"azure, by token": "azure-responses"}.get(provider, provider.partition(",")[0])
    model, _ = ModelMaker(client, SystemClock(), env=env).find(f"{name}/m")
    with pytest.raises(ModelError):
        async for _ in model.stream(ModelRequest(instructions="", messages=[UserMessage((Text("hi"),))])):
            pass
    assert client.asked == [row.official]


@pytest.mark.requirement("models:provider-gateways")
def test_the_table_of_this_test_has_every_provider_and_every_protocol() -> None:
    assert {each for each in GATEWAYS if "," not in each} == set(TABLE)
    assert {row.wire for row in GATEWAYS.values()} == set(WIRES)
    assert {*SPOKEN, "bedrock"} == set(WIRES)
