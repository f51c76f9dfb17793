"""Tools that stand elsewhere, as they are declared in Python."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any, Literal

import msgspec
import pytest
from tests.loopback import serving

from holdfast.errors import UndescribableTool, UsageError
from holdfast.safety.addresses import may_reach
from holdfast.sandbox.port import Posture
from holdfast.tools.access.profiles import ApiKeyHeader, Bearer
from holdfast.tools.binding import Tool, ToolContext
from holdfast.tools.elsewhere.declaring import remote
from holdfast.tools.gating.closing import Closing
from holdfast.tools.transports.callback import Callback
from holdfast.tools.transports.cli import Cli
from holdfast.tools.transports.commands.resources import Resources
from holdfast.tools.transports.commands.running import Command
from holdfast.tools.transports.container import Container
from holdfast.tools.transports.external import External
from holdfast.tools.transports.grpc import Grpc
from holdfast.tools.transports.http import Http
from holdfast.tools.transports.port import Transport, reach
from holdfast.tools.transports.wasm import Wasm
from holdfast.types import CallId, Effect, Governance, StreamId, ToolResult

TRUE = Command(program="true")


class Place(msgspec.Struct):
    """Where."""

    city: str
    country: str = "it"


@remote(
    Http("https://weather.example/v1"), auth=Bearer(secret="weather"), at_once=3, governance=Governance(risk="medium")
)
async def weather(place: Place, unit: Literal["c", "f"] = "c") -> str:
    """Tells the weather.

    Args:
        place: Where.
        unit: Of the temperature.
    """
    raise AssertionError("it stands elsewhere")


def stub(text: str) -> str:
    """Says the same."""
    raise AssertionError("it stands elsewhere")


def context() -> ToolContext:
    return ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k")


@pytest.mark.requirement("declaring:decorator")
def test_a_function_says_what_a_call_takes() -> None:
    spec = weather.spec
    assert (spec.name, spec.description, spec.at_once, spec.governance.risk) == (
        "weather",
        "Tells the weather.",
        3,
        "medium",
    )
    assert spec.reference == f"{__name__}:weather"
    assert spec.parameters["properties"]["unit"] == {
        "enum": ["c", "f"], "description": "Of the temperature.", "default": "c",
    }  # fmt: skip
    assert spec.parameters["required"] == ["place"]
    assert (weather.tier, spec.effect) == ("direct", Effect(outside="unsafe", sends=True))
    assert remote(Http("https://a.example"), name="other", description="Says.")(stub).spec.name == "other"
    with pytest.raises(msgspec.ValidationError):
        weather.parse(b'{"place": {}}')


@pytest.mark.requirement("declaring:decorator")
async def test_what_is_sent_is_what_was_validated_with_its_defaults() -> None:
    async with serving() as server:
        tool = remote(Http(server.url, private=True))(weather_of)
        outcome = await tool.run(tool.parse(b'{"place": {"city": "Rome"}}'), context())
        assert tool.close is not None
        await tool.close()
    assert isinstance(outcome, ToolResult)
    assert outcome.content == "ok"
    assert msgspec.json.decode(server.requests[0].body) == {"place": {"city": "Rome", "country": "it"}, "unit": "c"}


def weather_of(place: Place, unit: str = "c") -> str:
    """Tells the weather."""
    raise AssertionError("it stands elsewhere")


@pytest.mark.requirement("declaring:decorator")
def test_a_stub_of_a_local_type_is_understood_and_what_is_none_is_refused() -> None:
    class Local(msgspec.Struct):
        name: str

    @remote(Http("https://a.example"))
    def takes(local: Local) -> str:
        """Takes one."""
        raise AssertionError

    assert takes.parse(b'{"local": {"name": "x"}}').local == Local("x")

    def with_context(text: str, context: ToolContext) -> str:
        raise AssertionError

    class Holder:
        def method(self, text: str) -> str:
            raise AssertionError

    for wrong in (with_context, Holder.method, lambda text: text, takes):
        with pytest.raises(UndescribableTool):
            remote(Http("https://a.example"))(wrong)  # type: ignore[arg-type]


EFFECTS: list[tuple[Transport, dict[str, Any], str, Effect]] = [
    (Http("https://a.example"), {}, "direct", Effect(outside="unsafe", sends=True)),
    (External("https://a.example"), {"effect": "none"}, "direct", Effect(outside="none", sends=True)),
    (Callback("https://a.example"), {"effect": Effect(outside="keyed")}, "direct", Effect(outside="keyed")),
    (Grpc("grpcs://a.example"), {"effect": "keyed"}, "direct", Effect(outside="keyed", sends=True)),
    (Wasm("m.wasm"), {}, "direct", Effect(outside="none")),
    (Container(TRUE), {}, "direct", Effect(outside="none")),
    (Container(TRUE, image="a", resources=Resources(network="bridge")), {}, "direct", Effect()),
    (Cli(TRUE, image="a"), {}, "direct", Effect(outside="none")),
    (Cli(TRUE), {}, "inside", Effect(workspace=True)),
    (Cli(TRUE), {"effect": "none"}, "inside", Effect(workspace=True, outside="none")),
    (Cli(TRUE), {"isolation": "none"}, "outside", Effect(workspace=True)),
]


@pytest.mark.requirement("declaring:effects")
@pytest.mark.parametrize(("transport", "said", "tier", "effect"), EFFECTS)
def test_a_kind_has_its_tier_and_the_cautious_effect(
    transport: Transport, said: dict[str, Any], tier: str, effect: Effect
) -> None:
    tool = remote(transport, **said)(stub)
    assert (tool.tier, tool.spec.effect) == (tier, effect)
    assert tool.spec.governance.author == ("admin" if tier == "outside" else "anyone")


@pytest.mark.requirement("declaring:effects")
def test_a_program_in_the_sandbox_changes_what_that_lets_it() -> None:
    judge = remote(Cli(TRUE))(stub).effect
    assert judge is not None
    assert judge(None, Posture(backend="none")) == Effect(workspace=True, outside="unsafe")


WRONG = [
    lambda: remote(Cli(TRUE), auth=Bearer(secret="a")),
    lambda: remote(Container(TRUE), auth=ApiKeyHeader(secret="a")),
    lambda: remote(Http("https://a.example"), effect="checkable"),
    lambda: remote(Http("https://a.example"), isolation="wasm"),
    lambda: remote(Cli(TRUE, image="a"), isolation="none"),
    lambda: remote(Cli(TRUE, resources=Resources())),
    lambda: remote(Http("https://a.example"), at_once=0),
    lambda: remote(Http("https://a.example"), most=0),
    lambda: remote(Http("ftp://a.example")),
    lambda: remote(External("https://user:word@a.example")),
    lambda: remote(Callback("nowhere")),
]


@pytest.mark.requirement("declaring:decorator")
@pytest.mark.parametrize("wrong", WRONG)
def test_what_means_nothing_is_refused_when_it_is_declared(wrong: Any) -> None:
    with pytest.raises(UsageError):
        wrong()(stub)


@pytest.mark.requirement("declaring:private")
def test_private_addresses_are_opened_and_nothing_else() -> None:
    reached = {
        address: (may_reach(reach(False), address), may_reach(reach(True), address))
        for address in ("8.8.8.8", "127.0.0.1", "10.0.0.7", "fd12::1", "169.254.169.254", "fe80::1", "100.100.100.200")
    }
    assert [address for address, (public, _) in reached.items() if public] == ["8.8.8.8"]
    assert [address for address, (_, private) in reached.items() if private] == [
        "8.8.8.8", "127.0.0.1", "10.0.0.7", "fd12::1",
    ]  # fmt: skip
    for kind in (Http, External, Callback):
        assert (kind("https://a.example").private, kind("https://a.example", private=True).private) == (False, True)


@pytest.mark.requirement("declaring:private")
@pytest.mark.parametrize(
    "made",
    [
        lambda port: Http(f"http://127.0.0.1:{port}"),
        lambda port: External(f"http://127.0.0.1:{port}"),
        lambda port: Callback(f"http://127.0.0.1:{port}"),
        lambda port: Grpc(f"grpc://127.0.0.1:{port}"),
        lambda port: Wasm(f"https://127.0.0.1:{port}/m.wasm"),
    ],
)
async def test_nothing_private_is_dialled_for_a_tool_that_does_not_say_so(made: Any) -> None:
    async with serving() as server:
        tool: Tool = remote(made(server.port))(stub)
        outcome = await tool.run(tool.parse(b'{"text": "x"}'), context())
        assert isinstance(outcome, ToolResult)
        assert outcome.error is not None
        assert (outcome.error.code, server.connections) == ("permission_denied", 0)


@pytest.mark.requirement("declaring:closed-with-the-runtime")
async def test_what_two_runtimes_use_is_closed_with_the_last_of_them_and_what_cannot_be_is_told() -> None:
    closed: list[str] = []
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: told.append(said["exception"]))

    async def close() -> None:
        closed.append("shared")

    async def cannot() -> None:
        raise RuntimeError("stuck")

    one, two = Closing(), Closing()
    one.note([close, cannot])
    one.note([close])
    two.note([close])
    await one.close()
    await one.close()
    assert (closed, [str(each) for each in told]) == ([], ["stuck"])
    await two.close()
    assert closed == ["shared"]


@pytest.mark.requirement("declaring:closed-with-the-runtime")
async def test_a_connection_nobody_closed_leaves_no_warning() -> None:
    code = """
import asyncio, sys
from tests.unit.test_remote_tools import *
async def call(url):
    tool = remote(Http(url, private=True))(stub)
    print((await tool.run(tool.parse(b'{"text": "x"}'), context())).content)
asyncio.run(call(sys.argv[1]))
"""
    async with serving() as server:
        command = [sys.executable, "-W", "error", "-c", code, server.url]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("ok\n", "")


@pytest.mark.parametrize("wrong", ["http://127.0.0.1:1/", print])
def test_what_does_not_say_where_calls_go_is_told_what_to_write(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"@remote\(External\("):
        remote(wrong)


def test_a_remote_without_parentheses_is_refused_and_so_is_a_transport_that_leads_nowhere() -> None:
    with pytest.raises(UsageError, match=r"stands without parentheses.*@remote\(External\("):
        remote(stub)  # type: ignore[arg-type]  # pyright: ignore
    with pytest.raises(UsageError, match=r"@remote\(Http\(\.\.\.\)\)"):
        remote(Http)  # type: ignore[arg-type]  # pyright: ignore
