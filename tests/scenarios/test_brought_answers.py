"""A run that calls a tool elsewhere which brings its answers: it is parked meanwhile, and the answer is checked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.loopback import Request, Server, answer, serving
from tests.running import MODEL, Scene, all_answered, asked, of, scene, seen, soon, until

from holdfast import Agent
from holdfast.engine.events import ToolWaiting
from holdfast.runtime.run import Run
from holdfast.testing import Call, Turn
from holdfast.tools.binding import Tool
from holdfast.tools.elsewhere.attempting import Attempts
from holdfast.tools.elsewhere.calling import Elsewhere
from holdfast.tools.transports.callback import Callback, delivered
from holdfast.types import Effect, ToolSpec, stream_id

SCRIPT = [Turn(calls=[Call("weather", {"city": "Rome"})]), "thanks"]


async def taken(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
    writer.write(answer(b"", "202 Accepted"))


def agent(server: Server, patience: float | None = None) -> Agent[Any]:
    spec = ToolSpec(
        name="weather",
        description="Tells the weather.",
        parameters={"type": "object", "properties": {"city": {"type": "string"}}},
        effect=Effect(outside="keyed"),
        reference="elsewhere:weather",
    )
    remote = Elsewhere(spec, Callback(server.url, private=True, brought=True, patience=patience), Attempts())
    return Agent(MODEL, tools=[Tool(spec=spec, parse=msgspec.json.decode, run=remote.run, close=remote.close)])


async def parked(s: Scene, server: Server) -> tuple[Run, str, dict[str, Any]]:
    """Returns a run that waits for the tool, the token of its wait, and what the tool was asked."""
    run = await s.runtime.start(agent(server), "go", session="s")
    await soon(seen(run, "tool.waiting"))
    await until(lambda: s.runtime._worker.tail(stream_id("local", "s")) is None)
    (waiting,) = of(ToolWaiting, await s.log())
    assert (waiting.wait.kind, waiting.wait.prompt) == ("remote", "weather answers later")
    return run, waiting.wait.token, json.loads(server.requests[0].body)


def said(request_id: str, **fields: Any) -> bytes:
    whole = {"tool_contract_version": "v1", "request_id": request_id, "status": "ok", **fields}
    return json.dumps(whole).encode()


@pytest.mark.requirement("contract:callback-pushed")
async def test_a_run_is_parked_until_the_tool_brings_its_answer_and_only_the_first_one_counts(tmp_path: Path) -> None:
    async with serving(taken) as server, scene(SCRIPT, url=f"sqlite:///{tmp_path}/s.db") as s:
        run, token, request = await parked(s, server)
        head = await s.runtime.journal.head(stream_id("local", "s"))
        assert head is not None
        assert (head.state, head.owner) == ("waiting", None)
        assert (request["request_id"], request["agent"], request["input"]) == (token, "agent", {"city": "Rome"})
        result = delivered(said(token, output={"result": "sunny"}), token)
        assert (await run.answer(token, result.content, is_error=result.error is not None)).status == "accepted"
        assert (await run.answer(token, "rain")).status == "duplicate"
        assert (await soon(run.result())).output == "thanks"
        assert [each["content"] for each in asked(s.server)[-1] if each["role"] == "tool"] == ["sunny"]
        assert all_answered(await s.log())
        assert len(server.requests) == 1


@pytest.mark.requirement("contract:callback-pushed")
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (said("another"), "answers another request"),
        (b"\xff", "broke the contract"),
        (said("TOKEN", status="error", error={"code": "invalid_input", "message": "no such city"}), "no such city"),
    ],
)
async def test_what_is_brought_and_is_no_answer_is_an_error_that_the_model_reads(body: bytes, words: str) -> None:
    async with serving(taken) as server, scene(SCRIPT) as s:
        run, token, _ = await parked(s, server)
        result = delivered(body.replace(b"TOKEN", token.encode()), token, "weather")
        assert result.error is not None
        await run.answer(token, result.content, is_error=True)
        await soon(run.result())
        (read,) = [each["content"] for each in asked(s.server)[-1] if each["role"] == "tool"]
        assert words in read
