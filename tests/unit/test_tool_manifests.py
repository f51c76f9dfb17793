"""Tools as data: what a file of manifests comes to, and what is wrong with one."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import Agent
from holdfast.errors import UnknownTool, UsageError
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.tools.binding import Tool
from holdfast.tools.elsewhere.attempting import Attempts
from holdfast.tools.elsewhere.calling import Elsewhere
from holdfast.tools.elsewhere.manifests.loading import load_tools
from holdfast.tools.gateway import Admitted, Gateway
from holdfast.tools.permitting import Rules
from holdfast.tools.resolving import find_tool
from holdfast.tools.results import Refused
from holdfast.types import CallId, Effect, EventId, ToolCall, Wait, stream_id

WEATHER = """
apiVersion: orloj.dev/v1
kind: Tool
metadata:
  name: weather
  labels: {team: sky}
spec:
  type: http
  endpoint: https://weather.example/v1
  description: Tells the weather.
  input_schema:
    type: object
    properties:
      city: {type: string, minLength: 2}
      days: {type: integer, maximum: 9}
    required: [city]
  capabilities: [weather.read]
  operation_classes: [read]
  risk_level: medium
  runtime:
    timeout: 5s
    retry: {max_attempts: 3, backoff: 100ms, max_backoff: 1m, jitter: equal}
  auth: {secretRef: weather}
"""


def loaded(folder: Path, text: str) -> tuple[Tool, ...]:
    (folder / "tools.yaml").write_text(text)
    return load_tools(folder / "tools.yaml")


def inside(tool: Tool) -> Any:
    """Returns what makes the calls of a tool."""
    made: Any = getattr(tool.run, "__self__", None)
    assert isinstance(made, Elsewhere)
    return made


def spec_of(**spec: Any) -> str:
    return json.dumps({"kind": "Tool", "metadata": {"name": "t"}, "spec": spec})


@pytest.mark.requirement("declaring:manifests")
def test_a_manifest_becomes_a_tool_with_all_it_says(tmp_path: Path) -> None:
    (tool,) = loaded(tmp_path, WEATHER)
    spec = tool.spec
    assert (spec.name, spec.description) == ("weather", "Tells the weather.")
    assert (spec.governance.risk, spec.governance.capabilities) == ("medium", ("weather.read",))
    assert spec.governance.classes == ("read",)
    assert spec.reference == f"file:{tmp_path}/tools.yaml#weather"
    made = inside(tool)
    assert made._attempts == Attempts(timeout=5, most=3, backoff=0.1, max_backoff=60, jitter="equal")
    assert (made._auth.profile, made._auth.secret_ref) == ("bearer", "weather")
    assert Agent("openai/x", tools=[*load_tools(tmp_path / "tools.yaml"), "read"]).spec.tools[0] == spec


@pytest.mark.requirement("declaring:manifests")
def test_what_is_not_said_is_as_the_table_has_it(tmp_path: Path) -> None:
    low, high, cli, wasm, rpc = loaded(
        tmp_path,
        "\n---\n".join(
            (
                spec_of(endpoint="https://a.example"),
                spec_of(endpoint="https://a.example", risk_level="high", effect="keyed").replace('"t"', '"u"'),
                spec_of(type="cli", cli={"command": "ls"}).replace('"t"', '"v"'),
                spec_of(type="wasm", wasm={"module": "m.wasm"}).replace('"t"', '"w"'),
                spec_of(type="grpc", endpoint="a.example:99").replace('"t"', '"x"'),
            )
        ),
    )
    assert low.spec.parameters["properties"] == {"input": {"type": "string"}}
    assert (low.parse(b'{"input": "x"}'), low.spec.governance.classes) == ({"input": "x"}, ("read",))
    assert inside(low)._attempts == Attempts(timeout=30, most=1, backoff=0, max_backoff=30, jitter="none")
    assert inside(low)._transport.kind == "http"
    assert (inside(high)._transport.kind, high.spec.governance.classes) == ("isolated", ("write",))
    assert high.spec.effect == Effect(outside="keyed", sends=True)
    assert (cli.tier, wasm.tier) == ("inside", "direct")
    limits = inside(wasm)._transport._limits
    assert (limits.entrypoint, limits.memory, limits.fuel, limits.wasi) == ("run", 67_108_864, 1_000_000, True)
    assert inside(rpc)._transport.place == "grpcs://a.example:99"


FAULTS: list[tuple[dict[str, Any] | str, str]] = [
    ({"endpont": "https://a.example"}, r"\d+:\d+: spec has no key 'endpont'; did you mean 'endpoint'"),
    ({}, "spec.endpoint: a tool of the type http is somewhere"),
    ({"type": "queue"}, "spec.type cannot be 'queue'; write .*http"),
    ({"endpoint": "ftp://a"}, "spec.endpoint: .*'ftp'"),
    ({"endpoint": "https://a", "risk_level": "x"}, "spec.risk_level cannot be 'x'; write critical"),
    ({"endpoint": "https://a", "runtime": {"timeout": "soon"}}, "spec.runtime.timeout: 'soon' is no such quantity"),
    ({"endpoint": "https://a", "runtime": {"timeout": "2d"}}, "spec.runtime.timeout"),
    ({"endpoint": "https://a", "runtime": {"timeout": [1]}}, "spec.runtime.timeout: it is no quantity"),
    ({"endpoint": "https://a", "runtime": {"timeout": "99h"}}, "spec.runtime: attempts: a timeout"),
    ({"endpoint": "https://a", "runtime": {"retry": {"max_attempts": 0}}}, "spec.runtime: attempts"),
    ({"endpoint": "https://a", "runtime": {"isolation_mode": "vm"}}, "isolation_mode cannot be 'vm'"),
    ({"endpoint": "https://a", "auth": {}}, "spec.auth.secretRef: the profile bearer needs it"),
    ({"endpoint": "https://a", "auth": {"token": "x"}}, "spec.auth has no key 'token'"),
    ({"endpoint": "https://a", "auth": {"secretRef": "a b"}}, "spec.auth: 'a b' is no name of a secret"),
    ({"endpoint": "https://a", "auth": {"secretRef": "a", "scopes": ["x"]}}, "spec.auth.scopes: it belongs to"),
    ({"endpoint": "https://a", "auth": {"secretRef": "a", "profile": "api_key_header"}}, "spec.auth.headerName"),
    ({"endpoint": "https://a", "cli": {"command": "x"}}, "spec.cli: it belongs to the type cli, and this is http"),
    ({"type": "cli", "cli": {"command": "x"}, "auth": {"secretRef": "a"}}, "spec.auth: it belongs to"),
    ({"type": "cli"}, "spec.cli: a tool of the type cli says what is run"),
    ({"type": "cli", "cli": {}}, "spec.cli.command: it is missing"),
    ({"type": "cli", "cli": {"command": "x", "args": ["{"]}}, "spec.cli: the argument '{' has a brace"),
    ({"type": "cli", "cli": {"command": "x", "env_from": [{"name": "A"}]}}, r"spec.cli.env_from\[0\]: a variable"),
    ({"type": "cli", "cli": {"command": "x", "resources": {"memory": "1Gi"}}}, "spec: the limits of 't' are those of"),
    ({"type": "cli", "cli": {"command": "x", "image": "i", "resources": {"cpus": "all"}}}, "spec.cli.resources.cpus"),
    ({"type": "container", "container": {}}, "spec.container.command: it is missing"),
    ({"type": "wasm", "wasm": {}}, "spec.wasm.module: it is missing"),
    ({"type": "wasm", "wasm": {"module": "../m.wasm"}}, "spec.wasm: '../m.wasm' is no path"),
    ({"type": "wasm", "wasm": {"module": "m.wasm", "fuel": -1}}, "spec.wasm: a module has some fuel"),
    ({"type": "grpc", "endpoint": "a.example:1", "grpc": {"method": "Run"}}, "spec.endpoint: 'Run' is no method"),
    ({"type": "webhook-callback", "endpoint": "https://a", "callback": {"patience": "1m"}}, "spec.callback.patience"),
    ({"endpoint": "https://a", "input_schema": {"type": "string"}}, "input_schema: what a tool takes is an object"),
    ({"endpoint": "https://a", "input_schema": [1]}, "spec.input_schema: it is no JSON Schema"),
    ({"endpoint": "https://a", "input_schema": {"properties": {"a": {"type": "text"}}}}, "schema is no JSON Schema"),
    ({"endpoint": "https://a", "at_once": 0}, "spec.at_once: it counts from 1"),
    ("kind: Agent\nmetadata: {name: a}", "1:7: kind cannot be 'Agent'; write Tool"),
    ("metadata: {name: a}\nspec: {endpoint: 'https://a'}", "begin it with `kind: Tool`"),
    ("kind: Tool\nmetadata: {name: a b}\nspec: {endpoint: 'https://a'}", "2:12: metadata.name: the name of a tool is"),
    ("- a\n- b", "1:1: a manifest has keys"),
    ("", "1:1: there is no tool in here"),
    ("kind: [", "this is no YAML"),
    (f"{spec_of(endpoint='https://a')}\n---\n{spec_of(endpoint='https://b')}", "3:1: there are two tools 't'"),
]  # fmt: skip


@pytest.mark.requirement("declaring:manifest-faults")
@pytest.mark.parametrize(("said", "words"), FAULTS)
def test_what_is_wrong_is_told_with_its_line(said: dict[str, Any] | str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words) as error:
        loaded(tmp_path, said if isinstance(said, str) else spec_of(**said))
    assert all(line.startswith(f"{tmp_path}/tools.yaml:") for line in str(error.value).splitlines())


@pytest.mark.requirement("declaring:manifest-faults")
def test_of_another_kind_nothing_else_is_complained_of(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        loaded(tmp_path, "kind: Tol\nmetadata: {name: a b}\nspec: {model: x, endpoint: 1}\nmore: 1")
    assert str(error.value) == f"{tmp_path}/tools.yaml:1:7: kind cannot be 'Tol'; did you mean 'Tool'?"


@pytest.mark.requirement("declaring:manifest-faults")
def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    bad = WEATHER.replace("5s", "soon").replace("medium", "huge").replace("secretRef", "secretref")
    with pytest.raises(UsageError) as error:
        loaded(tmp_path, f"{WEATHER}\n---\n{bad}")
    lines = str(error.value).splitlines()
    assert [line.split(":")[1] for line in lines] == ["44", "46", "48", "48"]
    assert "did you mean 'secretRef'" in lines[2] + lines[3]


_leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
_values = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_fields = (
    "type",
    "endpoint",
    "input_schema",
    "runtime",
    "auth",
    "cli",
    "container",
    "wasm",
    "grpc",
    "effect",
    "at_once",
)


@pytest.mark.requirement("declaring:manifest-faults")
@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["http", "external", "grpc", "webhook-callback", "wasm", "cli", "container"]),
    st.dictionaries(st.sampled_from(_fields), _values, max_size=4),
    st.dictionaries(
        st.sampled_from(["command", "args", "env", "module", "image", "network", "fuel"]), _values, max_size=4
    ),
)
def test_whatever_stands_in_a_file_is_a_tool_or_a_fault(kind: str, spec: dict[str, Any], part: dict[str, Any]) -> None:
    folder = Path(tempfile.gettempdir())
    file = folder / f"holdfast-manifests-{os.getpid()}.yaml"
    given = {"type": kind, "endpoint": "https://a.example", kind: part, **spec}
    try:
        file.write_bytes(json.dumps({"kind": "Tool", "metadata": {"name": "t"}, "spec": given}).encode())
        load_tools(file)
    except UsageError as error:
        assert str(file) in str(error)
    finally:
        file.unlink()


@pytest.mark.requirement("declaring:arguments-checked")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "city is missing"),
        ({"city": "x"}, "length of at least 2"),
        ({"city": "Rome", "days": 10}, "at most 9"),
        ({"city": 7}, "city wants a string"),
        ([], "Expected `object`"),
    ],
)
def test_arguments_are_checked_against_the_schema(arguments: Any, words: str, tmp_path: Path) -> None:
    (tool,) = loaded(tmp_path, WEATHER)
    with pytest.raises(msgspec.ValidationError, match=words):
        tool.parse(msgspec.json.encode(arguments))
    assert tool.parse(b'{"city": "Rome", "days": 9}') == {"city": "Rome", "days": 9}


@pytest.mark.requirement("declaring:found-again")
def test_a_tool_is_found_again_by_its_file_and_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tool,) = loaded(tmp_path, WEATHER)
    monkeypatch.chdir("/")
    again = find_tool(tool.spec.reference)
    assert again.spec == tool.spec
    assert find_tool(tool.spec.reference) is again  # the file is read again only where it changed
    file = tmp_path / "tools.yaml"
    file.write_text(WEATHER.replace("Tells the weather.", "Says it."))
    later = time.time_ns() + 10**9
    os.utime(file, ns=(later, later))
    assert find_tool(tool.spec.reference).spec.description == "Says it."
    for reference, words in (
        (f"file:{file}#other", "is not in its file any more, which has weather"),
        ("file:tools.yaml#weather", "does not say which file"),
        (f"file:{tmp_path}/gone.yaml#weather", "cannot be read"),
        ("file:/dev/zero#weather", "no file with a tool"),
        (f"file:{tmp_path}#weather", "Is a directory"),
        ("file:/a\0b#weather", "no name of a file"),
    ):
        with pytest.raises(UnknownTool, match=words):
            find_tool(reference)
    file.write_text("kind: Tool")
    with pytest.raises(UnknownTool, match=r"is not found again: .*tools.yaml:1:1: "):
        find_tool(tool.spec.reference)


@pytest.mark.requirement("declaring:found-again")
def test_a_module_that_is_called_file_is_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.py").write_text("def add(a: int) -> int:\n    return a\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_tool("file:add").spec.name == "add"


@pytest.mark.requirement("declaring:allowed-as-declared")
@pytest.mark.parametrize("always", [False, True])
def test_what_was_allowed_is_asked_about_again_once_its_file_leads_elsewhere(tmp_path: Path, always: bool) -> None:
    file = tmp_path / "tools.yaml"

    def admitted(text: str, said: Wait | None = None) -> Admitted | Refused | Wait:
        file.write_text(text)
        found = find_tool(f"file:{file}#weather")
        gateway = Gateway(
            tools={"weather": found},
            stream=stream_id("local", "s"),
            run=EventId("r"),
            sandbox=None,
            blobs=MemoryBlobStore(),
            rules=Rules("ask"),
        )
        allowed = () if said is None else (said.grant if always else said.digest,)
        made = ToolCall(CallId("c"), "weather", '{"city": "Rome"}')
        return gateway.admit(made, "1/c", approved=() if always else allowed, always=allowed if always else ())

    asked = admitted(WEATHER)
    assert isinstance(asked, Wait)
    assert isinstance(admitted(WEATHER, asked), Admitted)
    assert isinstance(admitted(WEATHER.replace("team: sky", "team: sea!"), asked), Admitted), "it is the same tool"
    for one, other in (("weather.example", "elsewhere.example"), ("secretRef: weather", "secretRef: bank")):
        assert isinstance(admitted(WEATHER.replace(one, other), asked), Wait)
