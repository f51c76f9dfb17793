"""What holds for every value that flows between rooms."""

from __future__ import annotations

import gc
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import types
from holdfast.engine import events
from holdfast.engine.events import CODEC, RunFinished
from holdfast.errors import UsageError
from holdfast.types import (
    AgentSpec,
    AssistantMessage,
    CallId,
    Document,
    Effect,
    Event,
    EventId,
    Execution,
    Image,
    Limits,
    OutputShape,
    PhaseSpec,
    Price,
    ProviderTool,
    Text,
    Thinking,
    ToolCall,
    ToolError,
    ToolMessage,
    ToolResult,
    ToolSpec,
    Unknown,
    Usage,
    UserMessage,
    Wait,
    digest_of,
    from_dollars,
    session_of,
    stream_id,
    tenant_of,
)

COUNTS = st.integers(0, 10**9)
SPEC = AgentSpec(
    model="openai/x",
    instructions="Be brief.",
    tools=(ToolSpec(name="t", description="T.", parameters={"type": "object"}, effect=Effect(True, "keyed")),),
    limits=Limits(dollars=1.5),
)
VALUES = [
    UserMessage((Text("hi"), Image("image/png", b"\x00x", "a.png"), Document("text/plain", b"words"))),
    AssistantMessage(
        (Thinking("hm", "sig"), Thinking("", redacted="x"), Text("a"), ToolCall(CallId("c"), "t", "{")),
        "m",
        "tool_calls",
        Usage(1, 2),
    ),
    ToolMessage(CallId("c"), "t", "no", is_error=True),
    ToolResult("x", ToolError("timeout", "late", retryable=True), {"ui": "diff"}),
    Usage(5, 4, 3, 2, 1),
    Wait("token", "approval", 12, "May I?"),
    Effect(True, "checkable"),
    Price(1, 2, 3, 4),
    SPEC,
]


def structs() -> list[type[msgspec.Struct]]:
    found = [getattr(room, name) for room in (types, events) for name in room.__all__]
    return [each for each in found if isinstance(each, type) and issubclass(each, msgspec.Struct)]


@pytest.mark.requirement("types:values-are-frozen")
@pytest.mark.parametrize("kind", structs(), ids=lambda kind: kind.__name__)
def test_a_value_cannot_be_assigned_to(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.frozen


@pytest.mark.requirement("types:values-round-trip", "types:spec-serialises", "types:wait-names-token-kind-deadline")
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_decodes_from_its_own_encoding(value: msgspec.Struct) -> None:
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


def test_a_wait_of_a_kind_nobody_knows_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="kind"):
        msgspec.json.decode(b'{"token":"t","kind":"whim"}', type=Wait)


@pytest.mark.requirement("types:events-untracked-by-collector")
@pytest.mark.parametrize("kind", structs(), ids=lambda kind: kind.__name__)
def test_what_events_are_made_of_is_not_tracked_by_the_collector(kind: type[msgspec.Struct]) -> None:
    if kind in (ToolSpec, AgentSpec, OutputShape, ProviderTool):  # blobs, of which a run has one
        return
    assert kind.__struct_config__.gc is False


def test_a_decoded_event_is_not_tracked_either() -> None:
    body = b'{"seq":1,"id":"e","type":"run.finished","at":1,"epoch":1,"data":{"status":"completed"}}'
    event = CODEC.decode(body)
    assert isinstance(event.data, RunFinished)
    assert not gc.is_tracked(event)
    assert not gc.is_tracked(event.data)


@pytest.mark.requirement("types:envelope-fields")
def test_an_envelope_has_these_fields_and_no_other() -> None:
    words = "seq id type v at tenant actor epoch cause trace key_id must_understand scrubbed data"
    assert set(Event.__struct_fields__) == set(words.split())
    event = Event(seq=1, id=EventId("e"), type="x.y", at=1, epoch=1, data=Unknown(msgspec.Raw(b"{}")))
    assert (event.v, event.tenant, event.must_understand) == (1, "local", False)


@pytest.mark.requirement("types:envelope-time-in-microseconds")
def test_the_time_of_an_event_is_a_whole_number() -> None:
    whole = b'{"seq":1,"id":"e","type":"x.y","at":%s,"epoch":1,"data":{}}'
    assert CODEC.decode(whole % b"1795257018683859").at == 1_795_257_018_683_859
    with pytest.raises(msgspec.ValidationError, match=r"\$\.at"):
        CODEC.decode(whole % b"1.5")


@pytest.mark.requirement("types:stream-id-names-checked")
@pytest.mark.parametrize("name", ["", ".x", "a/b", "a b", "a\n", "ü", "x" * 129, "a%", "-x", "../x"])
def test_a_name_that_could_break_a_key_is_refused_with_what_is_allowed(name: str) -> None:
    for tenant, session in ((name, "s"), ("t", name)):
        with pytest.raises(UsageError, match="use 1 to 128 letters, digits, dots"):
            stream_id(tenant, session)


@pytest.mark.parametrize("name", ["a", "A.b-c:d_e", "x" * 128, "0"])
def test_a_stream_id_gives_back_its_names(name: str) -> None:
    stream = stream_id("local", name)
    assert (tenant_of(stream), session_of(stream)) == ("local", name)


@pytest.mark.requirement("types:effect-two-axes")
def test_an_effect_is_repeatable_only_where_doing_it_twice_equals_doing_it_once() -> None:
    outsides = ("none", "keyed", "checkable", "unsafe")
    table = {(w, o): Effect(w, o).repeatable for w in (False, True) for o in outsides}
    assert {key for key, repeatable in table.items() if repeatable} == {(False, "none")}
    assert Effect() == Effect(workspace=False, outside="unsafe")
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"outside":"maybe"}', type=Effect)


DIGEST = """
import msgspec
from tests.architecture.test_values import SPEC
from holdfast.types import digest_of
print(digest_of(msgspec.json.encode(SPEC)))
"""


@pytest.mark.requirement("types:spec-digest-stable")
def test_a_spec_has_one_digest_in_every_process_and_any_change_changes_it() -> None:
    mine = digest_of(msgspec.json.encode(SPEC))
    for seed in ("1", "2"):
        command = [sys.executable, "-c", DIGEST]
        theirs = subprocess.run(
            command, env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."}, capture_output=True, text=True, check=True
        )
        assert theirs.stdout.strip() == mine
    changes = {
        "model": "openai/y",
        "instructions": "",
        "name": "b",
        "tools": (),
        "limits": Limits(),
        "max_output_tokens": 5,
        "temperature": 0.5,
        "thinking": "high",
        "provider_tools": (ProviderTool("web_search"),),
        "options": {"service_tier": "flex"},
        "output": OutputShape("city", {"type": "object"}),
        "output_mode": "tool",
        "phases": (PhaseSpec(name="one", agent=digest_of(b"")),),
        "tools_shown": 5,
        "messages_shown": 5,
        "roles": ("reader",),
        "allowed_tools": ("t",),
        "execution": Execution(stop_on_first_tool=True),
        "may_call": False,
        "must_call": "t",
    }
    assert set(changes) == set(AgentSpec.__struct_fields__)
    others = {digest_of(msgspec.json.encode(msgspec.structs.replace(SPEC, **{k: v}))) for k, v in changes.items()}
    assert len(others - {mine}) == len(changes)


@pytest.mark.requirement("types:usage-adds-up")
@given(st.lists(st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)))
def test_usage_adds_up_field_by_field(usages: list[Usage]) -> None:
    total = sum(usages, Usage())
    for name in Usage.__struct_fields__:
        assert getattr(total, name) == sum(getattr(each, name) for each in usages)
    assert total.total_tokens == total.input_tokens + total.output_tokens


@pytest.mark.requirement("types:money-exact")
def test_money_is_whole_nanodollars_and_sums_are_exact() -> None:
    assert sum(from_dollars(0.1) for _ in range(10)) == from_dollars(1)
    assert from_dollars("0.000000001") == 1
    price = Price.per_million(1.25, 10, cache_read=0.125)
    assert price.cost(Usage(1_000_000, 1_000_000)) == from_dollars(11.25)
    assert price.cost(Usage(1)) == 1250
    assert isinstance(price.cost(Usage(1, 1, 1)), int)


@pytest.mark.requirement("types:price-bound-covers")
@given(st.builds(Price, COUNTS, COUNTS, COUNTS, COUNTS), COUNTS, COUNTS, st.data())
def test_the_bound_of_a_call_covers_every_split_of_its_tokens(
    price: Price, inputs: int, outputs: int, data: st.DataObject
) -> None:
    read = data.draw(st.integers(0, inputs))
    write = data.draw(st.integers(0, inputs - read))
    assert price.cost(Usage(inputs, outputs, read, write)) <= price.bound(inputs, outputs)
