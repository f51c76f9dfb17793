"""What nobody reported is marked as estimated: on every wire, in sums, in the log and in results."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.attacking import ANSWER, stream_of
from tests.loopback import Request, Server, serving
from tests.loopback import answer as reply
from tests.running import of, scene, soon
from tests.wires import WIRES, Wire, events_of, framed, unframed, whole_of

from holdfast import Agent
from holdfast.cli.words import money, tokens
from holdfast.engine.events import ModelFailed, ModelFinished, RunFinished
from holdfast.models.port import ModelRequest
from holdfast.models.providers.finding import find_model
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.testing import Turn
from holdfast.testing.faults import Cut
from holdfast.testing.protocols import PROTOCOLS
from holdfast.types import AssistantMessage, Text, Usage, UserMessage

pytestmark = pytest.mark.requirement("models:chat-usage-missing")

ASKED = ModelRequest(instructions="", messages=[UserMessage((Text("go"),))])
COUNTS = frozenset(("usage", "usageMetadata", "prompt_eval_count", "eval_count"))
"""The fields in which a server says what was used."""
MISTRAL = "mistral/mistral-large-latest"
"""It says what it used without being asked; the scripted server, which has to be asked, does not."""
EVERY_WIRE = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)


def without_counts(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_counts(v) for k, v in value.items() if k not in COUNTS}  # pyright: ignore[reportUnknownVariableType]
    return [without_counts(each) for each in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]


def uncounted(wire: Wire) -> bytes:
    """Returns a whole answer whose server keeps to itself what it used."""
    events: list[bytes] = []
    for event in events_of(wire, ANSWER, None):
        data = unframed(wire, event)
        events.append(framed(wire, json.dumps(without_counts(json.loads(data))).encode()) if data else event)
    return b"".join(events)


async def asked(wire: Wire, body: bytes, media: str = "") -> AssistantMessage:
    """Returns what a model says whose server sends this."""
    media = media or PROTOCOLS[wire.protocol].media

    async def play(_: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        writer.write(reply(body, headers=f"Content-Type: {media}\r\n"))

    async with serving(play) as server, HttpClient(TRUSTED) as client, asyncio.timeout(10):
        *_, last = [item async for item in find_model(wire.model, client, wire.env(server.url)).stream(ASKED)]
    assert isinstance(last, AssistantMessage)
    return last


@EVERY_WIRE
async def test_an_answer_without_counts_has_estimated_usage_and_one_with_them_has_not(wire: Wire) -> None:
    missing = await asked(wire, uncounted(wire))
    assert missing.text == ANSWER.text
    assert missing.usage.estimated
    assert missing.usage.input_tokens > 0 < missing.usage.output_tokens
    reported = await asked(wire, stream_of(wire))
    assert not reported.usage.estimated
    assert reported.usage.total_tokens == ANSWER.usage.total_tokens
    assert b"estimated" not in msgspec.json.encode(reported)


@pytest.mark.parametrize("name", [name for name in WIRES if name not in ("bedrock", "ollama")])  # they always stream
async def test_an_answer_that_was_not_streamed_is_marked_the_same_way(name: str) -> None:
    wire = WIRES[name]
    whole = json.dumps(without_counts(json.loads(whole_of(wire, ANSWER)))).encode()
    assert (await asked(wire, whole, "application/json")).usage.estimated
    assert not (await asked(wire, whole_of(wire, ANSWER), "application/json")).usage.estimated


# ---- sums, and how they are written down -----------------------------------------------------------------------

USAGES = st.builds(Usage, *[st.integers(0, 2**40)] * 5, st.booleans())


@given(st.lists(USAGES, max_size=8))
def test_a_sum_is_estimated_if_any_part_of_it_is(parts: list[Usage]) -> None:
    whole = sum(parts, Usage())
    assert whole.estimated == any(each.estimated for each in parts)
    assert whole.total_tokens == sum(each.total_tokens for each in parts)


@given(USAGES)
def test_the_mark_is_written_only_where_it_is_set_and_read_back(usage: Usage) -> None:
    data = msgspec.json.encode(usage)
    assert (b"estimated" in data) == usage.estimated
    assert msgspec.json.decode(data, type=Usage) == usage
    assert not msgspec.json.decode(b'{"input_tokens":3}', type=Usage).estimated, "as it was written before"


@pytest.mark.parametrize(
    ("cost", "estimated", "words"),
    [
        (42_000_000, False, "$0.0420"),
        (42_000_000, True, "at most $0.0420"),
        (None, True, "price unknown"),
        (0, True, "$0.0000"),
    ],
)
def test_money_that_may_be_less_says_so(cost: int | None, estimated: bool, words: str) -> None:
    assert money(cost, most=estimated) == words
    assert money(cost, most=estimated, short=True) == words.replace("at most ", "≤")
    assert tokens(Usage(1, 1, estimated=estimated)) == ("at most 2 tokens" if estimated else "2 tokens")


# ---- runs ------------------------------------------------------------------------------------------------------


async def test_the_mark_goes_through_the_log_the_result_and_each_model_of_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene(["hello", "again"]) as s:
        monkeypatch.setenv("MISTRAL_BASE_URL", s.server.base_url)
        monkeypatch.setenv("MISTRAL_API_KEY", "k")
        run = await s.runtime.start(Agent(MISTRAL), "go", session="s")
        result = await soon(run.result())
        known = await soon((await s.runtime.start(Agent("openai/scripted"), "go", session="t")).result())
        log, other = await s.log(), await s.log("t")
    assert result.usage.estimated
    assert result.models[MISTRAL].usage.estimated
    assert of(ModelFinished, log)[0].message.usage.estimated
    assert of(RunFinished, log)[0].usage == result.usage
    assert not known.usage.estimated
    assert not of(RunFinished, other)[0].usage.estimated


async def test_an_answer_that_broke_off_is_charged_an_estimate_and_so_is_its_run() -> None:
    turns = [Turn("one two three", chunk=4, fault=Cut(after_events=4, times=1))]
    async with scene(turns) as s:
        result = await soon((await s.runtime.start(Agent("openai/scripted"), "go", session="s")).result())
        log = await s.log()
    [failed] = of(ModelFailed, log)
    assert failed.usage is not None
    assert (failed.estimated, failed.usage.estimated) == (True, True)
    assert not of(ModelFinished, log)[0].message.usage.estimated
    assert result.status == "completed"
    assert result.usage.estimated
