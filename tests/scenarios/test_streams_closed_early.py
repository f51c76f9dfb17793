"""Streams whose reader leaves before their end, on every wire: one outcome, canceled, and nothing left of them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from tests.running import of, scene, soon, until
from tests.wires import WIRES, Wire

from holdfast import Agent
from holdfast.engine.events import ModelFailed, ModelFinished, ModelStarted, RunFinished
from holdfast.models.port import ModelRequest
from holdfast.models.providers.finding import find_model
from holdfast.models.providers.talking import HttpModel
from holdfast.net.client import HttpClient
from holdfast.net.settings import NetSettings
from holdfast.safety.addresses import TRUSTED
from holdfast.testing import Call, ScriptedModelServer, Turn
from holdfast.testing.faults import Drip, Hang
from holdfast.types import AssistantMessage, Delta, Event, Limits, Text, UserMessage

pytestmark = pytest.mark.requirement("models:stream-early-close-canceled")

ASKED = ModelRequest(instructions="", messages=[UserMessage((Text("go"),))])
WORDS = "one two three four five"
SLOW = Turn(WORDS, chunk=4, calls=[Call("f", {"x": 1})], fault=Drip(seconds=0.001))
OPEN = Turn(WORDS, chunk=4, fault=Hang(after_events=6, times=1))
"""On every wire words came by then, and no stop reason."""
EVERY_WIRE = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
Stream = AsyncGenerator[list[Delta] | AssistantMessage, None]


class Desk:
    """A server, and a client with one connection: what is not given back is missed at once."""

    def __init__(self, wire: Wire, server: ScriptedModelServer) -> None:
        self.server = server
        self.client = HttpClient(TRUSTED, NetSettings(connections=1))
        model = find_model(wire.model, self.client, wire.env(server.origin))
        assert isinstance(model, HttpModel)
        self.model: HttpModel[Any] = model

    def stream(self) -> Stream:
        return self.model.fresh().stream(ASKED)

    async def nothing_left(self) -> None:
        """Sees that neither end has anything of a stream any more, while the client is still open; a connection whose
        answer had come to its end may be kept for the next.
        """
        pool = None if self.client._pools is None else self.client._pools.current()
        kept = 0 if pool is None else sum(map(len, pool._connector._conns.values()))
        await until(lambda: len(self.server._peers) == kept, "the server still has a connection")
        assert self.model.pace.active == 0
        assert pool is None or (not pool._readings and not pool._connector._acquired)

    async def is_over(self, stream: Stream) -> None:
        """Sees that a stream says nothing more, however often it is asked or closed."""
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
            await stream.aclose()
        await self.nothing_left()

    async def works(self, count: int) -> None:
        """Sees that the next request has its answer, as the so-manieth one."""
        *_, last = [item async for item in self.stream()]
        assert isinstance(last, AssistantMessage)
        assert last.text == WORDS
        assert len(self.server.requests) == count, "what was closed was not asked again"
        await self.client.close()


@EVERY_WIRE
async def test_closing_a_stream_at_any_of_its_items_ends_it_there(wire: Wire) -> None:
    async with asyncio.timeout(10), ScriptedModelServer(lambda asked: SLOW) as server:
        desk = Desk(wire, server)
        taken, closed = 0, 0
        while True:
            stream, said = desk.stream(), list[object]()
            for _ in range(taken):
                said.append(await anext(stream))
                if isinstance(said[-1], AssistantMessage):
                    break
            if said and isinstance(said[-1], AssistantMessage):
                await stream.aclose()
                break
            await stream.aclose()
            await desk.is_over(stream)
            taken, closed = taken + 1, closed + 1
        assert closed > 2, "it was closed unread, at its first words, and later"
        await desk.works(closed + 1)  # the first one was closed before it asked anything


@EVERY_WIRE
@pytest.mark.parametrize("fault", [Hang(times=1), Hang(after_events=0, times=1), Hang(after_events=6, times=1)])
async def test_a_reader_that_is_cancelled_gets_its_cancellation_and_nothing_else(wire: Wire, fault: Hang) -> None:
    turns = [Turn(WORDS, chunk=4, fault=fault)]
    async with asyncio.timeout(10), ScriptedModelServer(turns) as server:
        desk, said = Desk(wire, server), list[object]()
        stream = desk.stream()

        async def read() -> None:
            async for item in stream:
                said.append(item)

        reading = asyncio.create_task(read())
        await server.arrived(1)
        await until(lambda: bool(said) or not fault.after_events)
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
        assert not any(isinstance(item, AssistantMessage) for item in said)
        await desk.is_over(stream)
        await desk.works(2)


@EVERY_WIRE
async def test_a_stream_that_somebody_just_drops_is_closed_like_any_other(wire: Wire) -> None:
    async with asyncio.timeout(10), ScriptedModelServer([OPEN]) as server:
        desk = Desk(wire, server)
        stream = desk.stream()
        assert isinstance(await anext(stream), list)
        del stream
        gc.collect()
        await desk.nothing_left()
        await desk.works(2)


# ---- in a run --------------------------------------------------------------------------------------------------


def outcomes(log: list[Event]) -> list[str]:
    """Returns what each model call of a log came to, in order."""
    calls = [event.data for event in log if isinstance(event.data, ModelFinished | ModelFailed)]
    return [each.code if isinstance(each, ModelFailed) else "answered" for each in calls]


@EVERY_WIRE
async def test_a_run_that_is_stopped_in_an_answer_logs_one_call_as_interrupted_and_the_session_goes_on(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = iter((OPEN, Turn(WORDS)))
    async with scene(lambda asked: next(turns)) as s:
        for name, value in wire.env(s.server.origin).items():
            monkeypatch.setenv(name, value)
        agent = Agent(wire.model)
        run = await s.runtime.start(agent, "go", session="s", limits=Limits(tokens=1_000_000))
        kinds: list[str] = []
        async for item in run.events():
            kinds.append(item.type)
            if item.type == "text.delta" and "abort" not in kinds:
                kinds.append("abort")
                await run.abort("enough")
        result = await soon(run.result())
        await until(lambda: not s.server._peers, "the server still has a connection")
        log = await s.log()
        assert result.status == "aborted"
        assert outcomes(log) == ["interrupted"]
        assert len(of(ModelStarted, log)) == len(of(RunFinished, log)) == len(s.server.requests) == 1
        assert kinds.count("reset") == kinds.count("model.failed") == kinds.count("run.finished") == 1
        assert "text.delta" not in kinds[kinds.index("reset") :]
        again = await soon((await s.runtime.start(agent, "and now?", session="s")).result())
        assert (again.status, again.output) == ("completed", WORDS)
        assert outcomes(await s.log()) == ["interrupted", "answered"]


@pytest.mark.parametrize("place", range(8))
async def test_a_run_that_is_stopped_at_any_moment_of_an_answer_has_one_outcome_of_it(place: int) -> None:
    async with scene(lambda asked: Turn(WORDS, chunk=4, fault=Drip(seconds=0.001))) as s:
        run = await s.runtime.start(Agent("openai/scripted"), "go", session="s")
        left = place
        async for item in run.events():
            if item.type in ("run.started", "text.delta", "model.finished"):
                if not left:
                    await run.abort("enough")
                left -= 1
        await soon(run.result())
        log = await s.log()
        again = await soon((await s.runtime.start(Agent("openai/scripted"), "and now?", session="s")).result())
    assert outcomes(log) in ([], ["interrupted"], ["answered"])
    assert len(outcomes(log)) == len(s.server.requests) - 1
    assert len(of(RunFinished, log)) == 1
    assert again.output == WORDS
