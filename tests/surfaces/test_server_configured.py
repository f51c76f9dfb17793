"""What the file of `holdfast serve --config` comes to: refused with its place, or done; and that its page is true."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import pytest
from tests.loopback import Request, Server, answer
from tests.loopback import serving as endpoint
from tests.surfaces.commands import BOUND, Shell, shell
from tests.surfaces.test_server_frame_serve import Served, served
from tests.surfaces.test_server_hardening import SECRET

from holdfast.cli.serve.configuring import Endpoint, ServeConfig, load_config
from holdfast.errors import UsageError
from holdfast.runtime.delivering.targets.signing import read_secret
from holdfast.server.access.principal import Rates
from holdfast.server.access.settings import AccessSettings
from holdfast.server.access.tenants import Tenant
from holdfast.server.access.tokens.issuer import Issuer
from holdfast.server.listening.caps import Caps
from holdfast.server.parts import Bounds
from holdfast.testing import Turn
from holdfast.testing.scripts import Call

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "serve.md"
TENANTS = "access:\n  tenants:\n    good: {}\n    acme:\n      "


@pytest.mark.requirement("server_frame:config-strict", "server_frame:config-file")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("host: h\nprot: 8700", "2:1: prot: unknown field `prot`, did you mean `port`? (known: agents, "),
        ("bounds: {gracee: 3}", "1:10: bounds.gracee: unknown field `gracee`, did you mean `grace`? (known: heartbeat"),
        ("connections: {conections: 5}", "1:15: connections.conections: unknown field"),
        (
            f"{TENANTS}rates: {{request: 2}}",
            "5:15: access.tenants.acme.rates.request: unknown field `request`, did you",
        ),
        (f"{TENANTS}each: {{dolars: 5}}", "(known: requests, tokens, dollars)"),
        (
            f"{TENANTS}policy: {{permissions: [{{tul: x}}]}}",
            "policy.permissions[0].tul: unknown field `tul` (known: too",
        ),
        ("bounds:\n  grace: -1", "2:3: bounds.grace: Expected `float` >= 0.0"),
        ("bounds: {grace: nan}", "bounds.grace: Expected `float` >= 0.0"),
        ("bounds: {heartbeat: inf}", "bounds.heartbeat: Expected `float` <= "),
        ("connections: {connections: -1}", "connections.connections: Expected `int` >= 1"),
        ("access: {login_hours: 0}", "access.login_hours: Expected `float` > 0"),
        (f"{TENANTS}rates: {{requests: 0}}", "access.tenants.acme.rates.requests: Expected `float` > 0"),
        (f"{TENANTS}rates: 3", "access.tenants.acme.rates: Expected `object`"),
        ("mode: yes", "1:1: mode: Invalid enum value 'yes' (known: read-only, ask, accept-edits, auto)"),
        ("targets: {a: {uri: x}}", "targets.a.uri: unknown field `uri`, did you mean `url`?"),
        ("access: {issuers: [{issuer: x, audience: a}]}", "is no address of an issuer"),
    ],
)
def test_a_slip_at_any_depth_is_refused_with_its_place_and_what_is_known_there(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as refused:
        load_config(file)
    assert str(refused.value).startswith(f"{file}:")
    assert said in str(refused.value)


STRUCTS = (ServeConfig, Endpoint, AccessSettings, Tenant, Rates, Issuer, Bounds, Caps)


def bounds_of(told: Any) -> Iterator[str]:
    """Yields what is said of the range or the choices of a field's type."""
    if get_origin(told) is Annotated:
        (meta,) = (each for each in get_args(told)[1:] if isinstance(each, msgspec.Meta))
        signs = {"gt": "> ", "ge": "≥ ", "lt": "< ", "le": "≤ "}
        yield from (
            f"{sign}{numbered(getattr(meta, name))}" for name, sign in signs.items() if getattr(meta, name) is not None
        )
    elif get_origin(told) is Literal:
        yield from (f"`{each}`" for each in get_args(told))
    elif get_origin(told) not in (dict, tuple):
        for each in get_args(told):
            yield from bounds_of(each)


def numbered(number: float) -> str:
    return f"{number:,d}" if isinstance(number, int) else f"{number:,g}"


def default_of(field: Any) -> str:
    found = field.default if field.default is not msgspec.NODEFAULT else None
    if found is None or found in ((), "") or isinstance(found, msgspec.Struct | dict):
        return "required" if field.required else ""
    if isinstance(found, tuple):
        return ", ".join(f"`{each}`" for each in found)
    return (
        numbered(found) if isinstance(found, int | float) and not isinstance(found, bool) else f"`{str(found).lower()}`"
    )


@pytest.mark.requirement("server_frame:config-reference")
@pytest.mark.parametrize("struct", STRUCTS, ids=lambda each: each.__name__)
def test_the_page_of_the_configuration_has_each_field_with_its_default_and_range_and_no_other(struct: type) -> None:
    section = re.search(rf"<!-- {struct.__name__} -->\n(.*?)(?:\n\n|\Z)", PAGE.read_text("utf-8"), re.DOTALL)
    assert section is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section[1].splitlines()[2:]]
    wanted = [
        [f"`{each.encode_name}`", default_of(each), ", ".join(bounds_of(each.type))]
        for each in msgspec.structs.fields(struct)
    ]
    assert [row[:3] for row in rows] == wanted
    assert all(len(row) == 4 and len(row[3]) > 8 for row in rows), "each says what it does"


@pytest.mark.requirement("server_frame:missing-keys")
def test_agents_whose_providers_key_is_missing_are_named_when_the_server_starts(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    with served(sh) as server:
        (warning,) = server.told["warnings"]
        assert warning == "OPENAI_API_KEY is not set: prompts to coder fail before openai/gpt-5-mini is asked"
        server.end()
    sh.environment["OPENAI_API_KEY"] = "k"
    with served(sh) as server:
        assert server.told["warnings"] == []
        server.end()


AGENT = """
from holdfast import Agent, tool

@tool(effect="keyed")
def refund(order: str) -> str:
    "Pay an order back."
    return "paid"

agent = Agent("openai/gpt-5-mini", name="desk", tools=[refund])
"""


def asked_for(server: Served, session: str, **more: Any) -> list[Any]:
    """Gives a session a prompt, and returns what waits for a person once its run is over or waits."""
    told = server.ask("POST", "/v1/sessions", {"name": session, "prompt": {"text": "Refund it.", **more}})
    until = time.monotonic() + BOUND
    while time.monotonic() < until:
        if waits := server.ask("GET", f"/v1/sessions/{session}/waits")["waits"]:
            return list(waits)
        key = told["prompt"]["key"]
        if server.ask("GET", f"/v1/sessions/{session}/runs/{key}?wait=1")["status"] != "open":
            return []
    raise AssertionError("the run neither ended nor asked")


@pytest.mark.requirement("server_frame:mode")
def test_a_prompt_without_a_mode_has_the_servers_and_one_with_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(AGENT)
    (tmp_path / "serve.yaml").write_text("agents: [mine:agent]\nmode: ask\n")
    turn = Turn(calls=[Call(name="refund", arguments={"order": "7"})])
    with shell(tmp_path, [turn, turn, Turn(text="done"), turn, turn, Turn(text="done")]) as sh:
        with served(sh, "--config", "serve.yaml") as server:
            assert asked_for(server, "one")[0]["tool"] == "refund"
            assert asked_for(server, "two", mode="auto") == []
            connection = server.connection()
            body = json.dumps({"model": "desk", "messages": [{"role": "user", "content": "Refund it."}]})
            connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
            told = connection.getresponse()
            assert (told.status, b"approval_required" in told.read()) == (409, True)
            connection.close()
            server.end()
        with served(sh, "--config", "serve.yaml", "--mode", "auto") as server:
            assert asked_for(server, "three") == []
            server.end()


@pytest.mark.requirement("server_frame:idle", "engine:session-interrupt-and-expiry")
def test_a_session_that_nobody_comes_back_to_ends_as_the_server_or_its_prompt_says(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(AGENT)
    (tmp_path / "serve.yaml").write_text("agents: [mine:agent]\nidle: 0.01\n")
    with shell(tmp_path, [Turn(text="done")]) as sh, served(sh, "--config", "serve.yaml") as server:
        for name, control in (("long", {"idle": 3600}), ("short", {}), ("own", {"idle": 0.02})):
            assert asked_for(server, name, control=control) == []
        for name in ("short", "own"):
            connection = server.connection()
            connection.request("GET", f"/v1/sessions/{name}/events", headers={"accept": "text/event-stream"})
            answer = connection.getresponse()
            while b"event: session.ended" not in (line := answer.readline()):
                assert line, "the stream ended without a word of it"
            connection.close()
        states = {each["session"]: each["state"] for each in server.ask("GET", "/v1/sessions")["sessions"]}
        assert states == {"long": "idle", "own": "ended", "short": "ended"}
        connection = server.connection()
        connection.request("POST", "/v1/sessions/short/prompts", '{"text": "hi"}', {"content-type": "application/json"})
        assert connection.getresponse().status == 410
        connection.close()
        server.end()


@pytest.mark.requirement("server_frame:targets", "server_sessions:webhooks-signed")
async def test_a_result_goes_signed_to_a_private_webhook_that_the_configuration_names(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def take(_: Request, writer: asyncio.StreamWriter, __: Server) -> None:
        writer.write(answer())
        arrived.set()

    async with endpoint(take) as receiver:
        (tmp_path / "serve.yaml").write_text(
            f"targets:\n  ours: {{url: '{receiver.url}', secrets: [{SECRET}], headers: {{x-team: desk}}}}\n"
            f"  plain: {receiver.url}\n"
        )
        with (
            shell(tmp_path, [Turn(text="done"), Turn(text="done")]) as sh,
            served(sh, "--config", "serve.yaml") as server,
        ):
            hint = server.ask("GET", "/v1/webhook-secrets")
            assert hint["secrets"] == [] and "HOLDFAST_WEBHOOK_SECRETS" in hint["hint"]
            for wrong in (f"webhook:{receiver.url}", "bogus", "file:/tmp", "webhook:https://"):
                status, said = refused_target(server, wrong)
                assert status == 422
                assert "Runtime.open" not in said and "file:/folder" not in said
                assert "ours, plain" in said or wrong == "webhook:https://"
            prompt = {"text": "hi", "deliver": ["ours"]}
            server.ask("POST", "/v1/sessions", {"name": "s", "prompt": prompt})
            await asyncio.wait_for(arrived.wait(), BOUND)
            (request,) = receiver.requests
            server.end()
    headers = request.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    mine = base64.b64encode(hmac.digest(read_secret(SECRET), signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{mine}"
    assert (headers["x-team"], json.loads(request.body)["output"]) == ("desk", "done")


def refused_target(server: Served, name: str) -> tuple[int, str]:
    connection = server.connection()
    body = json.dumps({"name": "never", "prompt": {"text": "hi", "deliver": [name]}})
    connection.request("POST", "/v1/sessions", body, {"content-type": "application/json"})
    told = connection.getresponse()
    found = told.status, told.read().decode()
    connection.close()
    return found
