"""How tools elsewhere are kept apart: one table, a ceiling, and what cannot be kept apart is not called."""

from __future__ import annotations

import pytest

from holdfast.errors import UsageError
from holdfast.sandbox.policy.comparing.profiles import compare
from holdfast.sandbox.policy.comparing.rows import Setting
from holdfast.sandbox.policy.loading import load_profile
from holdfast.sandbox.policy.profile import Ceiling, Profile
from holdfast.tools.binding import ToolContext
from holdfast.tools.contract.messages import Asked, Request
from holdfast.tools.elsewhere.isolating import Isolation, isolation_of, kept_apart, room_of
from holdfast.tools.transports.cli import Cli
from holdfast.tools.transports.commands.engines import EngineRoom
from holdfast.tools.transports.commands.resources import Resources, bound_by
from holdfast.tools.transports.commands.rooms import HostRoom, OwnRoom, RunRoom
from holdfast.tools.transports.commands.running import Command, EnvFrom
from holdfast.tools.transports.container import Container
from holdfast.tools.transports.http import Http
from holdfast.tools.transports.port import Errand, Transport, Unsent
from holdfast.types import CallId, Governance, StreamId
from holdfast.types.permissions import Risk

REMOTE = ("http", "external", "webhook-callback", "grpc", "mcp", "a2a")
TABLE: list[tuple[str, Risk, str | None, Isolation]] = [
    *((kind, risk, None, "none") for kind in REMOTE for risk in ("low", "medium")),
    *((kind, risk, None, "sandboxed") for kind in REMOTE for risk in ("high", "critical")),
    *(("cli", risk, None, "container") for risk in ("low", "medium", "high", "critical")),
    *(("container", risk, None, "container") for risk in ("low", "critical")),
    *(("wasm", risk, None, "wasm") for risk in ("low", "critical")),
    *(("nobody-knows", risk, None, "sandboxed") for risk in ("low", "medium", "high", "critical")),
    ("http", "critical", "none", "none"),
    ("http", "low", "container", "container"),
    ("cli", "critical", "none", "none"),
    ("cli", "low", "sandboxed", "sandboxed"),
    ("container", "low", "container", "container"),
    ("nobody-knows", "low", "none", "none"),
]  # fmt: skip


@pytest.mark.requirement("commands:isolation-by-risk")
@pytest.mark.parametrize(("kind", "risk", "declared", "wanted"), TABLE)
def test_risk_and_kind_say_how_a_tool_is_kept_apart(
    kind: str, risk: Risk, declared: str | None, wanted: Isolation
) -> None:
    assert isolation_of(Governance(risk=risk), kind, declared) == wanted


@pytest.mark.requirement("commands:isolation-by-risk")
@pytest.mark.parametrize(
    ("kind", "declared"), [("http", "vm"), ("http", "wasm"), ("wasm", "none"), ("container", "none"), ("cli", "")]
)
def test_an_isolation_that_is_none_of_a_kind_is_refused(kind: str, declared: str) -> None:
    with pytest.raises(UsageError, match=r"isol|module"):
        isolation_of(Governance(), kind, declared)


@pytest.mark.requirement("commands:isolation-fails-closed")
async def test_a_call_over_the_network_that_is_to_be_isolated_is_not_made() -> None:
    there = Http("http://127.0.0.1:1/x", private=True)
    assert kept_apart(there, "none") is there
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k")
    errand = Errand(request=Request(request_id="k", tool=Asked(name="weather")), context=context)
    with pytest.raises(Unsent, match="declare isolation none") as refused:
        await kept_apart(there, "sandboxed").send(errand)
    error = refused.value.result.error
    assert error is not None
    assert (error.code, error.retryable) == ("isolation_unavailable", False)


@pytest.mark.requirement("commands:isolation-fails-closed")
def test_each_isolation_of_a_command_has_its_room() -> None:
    assert isinstance(room_of("t", "none"), HostRoom)
    assert isinstance(room_of("t", "sandboxed"), RunRoom)
    assert isinstance(room_of("t", "container"), RunRoom)
    assert isinstance(room_of("t", "container", image="alpine"), EngineRoom)
    for isolation, image, resources in (("none", "a", None), ("sandboxed", "a", None), ("wasm", "", None)):
        with pytest.raises(UsageError):
            room_of("t", isolation, image=image, resources=resources)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="profile"):
        room_of("t", "container", resources=Resources())


@pytest.mark.requirement("sandbox:default-container-posture")
@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (Resources(memory=2 * 1024**3), "memory"),
        (Resources(cpus=2.5), "cpus"),
        (Resources(pids=257), "pids"),
        (Resources(network="bridge"), "network"),
    ],
)
async def test_who_asks_for_more_than_the_ceiling_is_refused_by_name(wanted: Resources, named: str) -> None:
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k")
    errand = Errand(request=Request(request_id="k", tool=Asked(name="greedy")), context=context)
    command = Command(program="sh")
    tools: list[Transport] = [
        Container(command, image="no/such", resources=wanted),
        Cli(command, image="no/such", resources=wanted),
    ]
    if wanted.network == "none":
        tools.append(Container(command, resources=wanted))
    for tool in tools:
        with pytest.raises(Unsent, match=f"'greedy' was not called: it asks for more than it may have: {named} "):
            await tool.send(errand)
    bound_by(Ceiling(memory=1 << 40, cpus=64, pids=9999, networks=("none", "bridge")), wanted)


def test_what_cannot_be_meant_is_refused_when_it_is_declared() -> None:
    wrong = [
        lambda: Resources(memory=0),
        lambda: Resources(cpus=0),
        lambda: Resources(pids=0),
        lambda: Resources(network="host"),  # type: ignore[arg-type]
        lambda: Container(Command()),
        lambda: Container(Command(program="x"), backend="none"),
        lambda: OwnRoom(Resources(network="bridge")),
        lambda: EngineRoom("--privileged", Resources()),
        lambda: EngineRoom("a b", Resources()),
        lambda: Command(program="-x"),
        lambda: Command(program="x", env={"A=B": ""}),
        lambda: Command(program="x", env={"HOLDFAST_OWNER": "other#1"}),
        lambda: Command(program="x", env={"A": "\0"}),
        lambda: Command(program="x", env={"A": ""}, env_from=(EnvFrom(name="A", secret="s"),)),
        lambda: Command(program="x", env_from=(EnvFrom(name="A", secret="no name"),)),
        lambda: Command(program="x", working_dir="../up"),
        lambda: Command(program="x", working_dir="/etc"),
        lambda: Command(program="x", args=("{",)),
    ]
    for each in wrong:
        with pytest.raises(UsageError):
            each()


@pytest.mark.requirement("declaring:operator")
def test_the_operators_word_is_part_of_the_profile_and_of_what_changes_in_it() -> None:
    text = "kind: SandboxProfile\ntools: {programs: [git], memory: 2Gi, networks: [none, bridge]}\n"
    profile = load_profile(text)
    assert profile.tools == Ceiling(programs=("git",), memory=2 * 1024**3, networks=("none", "bridge"))
    found = compare(Profile(), profile)
    assert sorted(each.name for each in found.opened if isinstance(each, Setting)) == [
        "tools.memory", "tools.networks bridge", "tools.programs git",
    ]  # fmt: skip
    assert (found.closed, found.unsure) == ((), ())
    assert compare(profile, Profile()).closed
    with pytest.raises(UsageError, match=r"2:9: tools has no key 'programms'; did you mean 'programs'"):
        load_profile(text.replace("programs", "programms"))
