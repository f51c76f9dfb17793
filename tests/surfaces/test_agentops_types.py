"""Every type and field of AgentOps' protocol: what no model says in the other tests, and the stream as curl has it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.agentops import KINDS, check_events, check_order
from tests.door import door, events_of
from tests.running import MODEL, scene
from tests.surfaces.commands import BOUND, bash, shell
from tests.surfaces.test_agentops_daemon import TOKEN, daemon
from tests.surfaces.test_agentops_task import write_config

from holdfast import Agent, ToolContext, tool
from holdfast.engine.events import ModelFinished
from holdfast.server.doors.agentops.shapes import Fep
from holdfast.server.doors.agentops.translating import Translator
from holdfast.testing import Call, Turn
from holdfast.types import Citation, Event, ProviderStep, Text

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LARGE = 256 * 1024


@tool(effect="none")
async def chart(size: int, context: ToolContext) -> str:
    """Draws."""
    await context.attach("chart.png", b"\x89PNG" + b"x" * (size - 4))
    await context.attach("notes.txt", "beside it")
    return "drawn"


@pytest.mark.requirement("server:fep-fields")
def test_the_schema_knows_every_type_that_there_is() -> None:
    assert {each.__struct_config__.tag for each in _below(Fep) if not each.__name__.startswith("_")} == set(KINDS)


def _below(kind: type[Any]) -> list[type[Any]]:
    return [each for one in kind.__subclasses__() for each in (one, *_below(one))]


@pytest.mark.requirement("server:fep-fields")
@pytest.mark.parametrize(("size", "whole"), [(500, True), (LARGE, True), (LARGE + 1, False)])
async def test_a_file_that_a_call_made_is_in_its_result_with_its_kind_and_its_bytes_where_they_are_few(
    size: int, whole: bool
) -> None:
    async with door([Turn(calls=[Call("chart", {"size": size})]), "done"], Agent(MODEL, tools=[chart])) as d:
        events = await events_of(d, "go")
    check_events(events)
    check_order(events)
    (result,) = [each for each in events if each["type"] == "tool_result"]
    assert result["media_type"] == "image/png"
    assert ("data" in result) is whole
    if whole:
        assert base64.b64decode(result["data"]) == b"\x89PNG" + b"x" * (size - 4)


@pytest.mark.requirement("server:fep-fields", "server:fep-order")
async def test_sources_what_a_provider_ran_itself_and_runs_that_nobody_typed_are_told() -> None:
    async with scene(["It is so."]) as s:
        run = await s.runtime.start(Agent(MODEL), "go", session="s")
        items = [item async for item in run.events() if isinstance(item, Event)]
    cited = (Citation("https://a.example/x", "X"), Citation("report.pdf"), Citation("https://a.example/x", "again"))
    parts = (ProviderStep("web_search", '{"query":"so"}'), Text("It is so.", citations=cited))
    for at, item in enumerate(items):
        if isinstance(item.data, ModelFinished):
            message = msgspec.structs.replace(item.data.message, parts=parts)
            items[at] = msgspec.structs.replace(item, data=msgspec.structs.replace(item.data, message=message))
    told = Translator("coder", "coder", internal="delegation_callback").feed(items, NOW)
    events: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(told))
    check_events(events)
    check_order(events)
    assert (events[0]["internal"], events[0]["source"], "prompt" in events[0]) == (True, "delegation_callback", False)
    assert [(each["source_type"], each["url"], each["title"]) for each in events if each["type"] == "source"] == [
        ("url", "https://a.example/x", "X"),
        ("document", "report.pdf", ""),
    ]
    (call,) = [each for each in events if each["type"] == "tool_call"]
    assert (call["tool_name"], call["provider_executed"]) == ("web_search", True)


@pytest.mark.requirement("server:fep-fields", "server:fep-order", "server_agentops:curl")
def test_the_stream_as_curl_has_it_is_one_line_of_json_for_each_event_in_the_order_of_the_protocol(
    tmp_path: Path,
) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl")
    with shell(tmp_path, [bash("echo hello"), Turn(text="done")]) as sh:
        write_config(tmp_path, builtinTools=["bash"])
        with daemon(sh, "--host", "127.0.0.1", "--token", TOKEN) as up:
            body = ("-H", "content-type: application/json", "-d", json.dumps({"prompt": "go"}))
            who = ("-H", f"authorization: Bearer {TOKEN}")
            command = [curl, "-sS", "-N", "-i", "--max-time", str(BOUND), *who, *body, f"{up.url}/prompt/stream"]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=2 * BOUND)
    head, _, stream = done.stdout.replace("\r\n", "\n").partition("\n\n")
    headers = dict(line.split(": ", 1) for line in head.lower().splitlines()[1:])
    assert headers["content-type"].startswith("text/event-stream")
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache", "no")
    events: list[dict[str, Any]] = []
    for frame in stream.strip("\n").split("\n\n"):
        lines = [line for line in frame.splitlines() if not line.startswith((":", "id: "))]
        assert len(lines) == 1 and lines[0].startswith("data: "), frame
        events.append(json.loads(lines[0][6:]))
    check_events(events)
    check_order(events)
    assert [each["output"][:5] for each in events if each["type"] == "tool_result"] == ["hello"]
