"""What a stream of a session tells is what the server's description says of it."""

from __future__ import annotations

import asyncio
from typing import Any

import jsonschema
import pytest
from tests.running import MODEL, scene, soon
from tests.serving import serving
from tests.surfaces.listening import asked, listening, post

from holdfast import Agent, tool
from holdfast.engine.events import CODEC
from holdfast.server.app import ROUTES
from holdfast.server.routing.openapi import document_of
from holdfast.testing import Call, Turn
from holdfast.testing.faults import Cut

PATH = "/v1/sessions/{session}/events"


@tool(effect="none")
async def look(what: str) -> str:
    """Looks."""
    return f"seen: {what}"


@pytest.mark.requirement("server_sessions:events-described")
async def test_each_event_of_a_stream_is_as_the_description_says() -> None:
    document = document_of(ROUTES)
    told: Any = document["paths"][PATH]["get"]["responses"]["200"]["content"]["text/event-stream"]
    events: dict[str, Any] = told["x-events"]
    assert set(events) >= {kind.type for kind in CODEC.kinds} | {"text.delta", "reset", "lagged", "end", "error"}
    script = [
        Turn("Let me look.", thinking="Hm.", calls=[Call("look", {"what": "x"})]),
        Turn("one two three four", chunk=4, fault=Cut(after_events=3, times=1)),
        Turn("one two three four"),
        "again",
    ]
    agents = {"plain": Agent(MODEL, name="plain", tools=[look])}
    seen: set[str] = set()
    async with scene(script) as s, serving(agents, runtime=s.runtime) as served:
        await asked(served, "hi")
        await soon(_read(served, events, document, seen))
        await post(served, "/sessions/s/steer", {"text": "more"})
        await soon(_read(served, events, document, seen))
    assert seen >= {"input.received", "run.started", "model.finished", "tool.finished", "run.finished", "reset", "end"}


async def _read(served: Any, events: dict[str, Any], document: dict[str, Any], seen: set[str]) -> None:
    async with asyncio.timeout(20), listening(served, "s") as listener:
        async for each in listener:
            jsonschema.validate(each.data, {**events[each.event], "components": document["components"]})
            assert each.data["type"] == each.event
            seen.add(each.event)


def test_what_is_no_such_event_does_not_fit() -> None:
    document = document_of(ROUTES)
    content: Any = document["paths"][PATH]["get"]["responses"]["200"]["content"]
    schema = content["text/event-stream"]["x-events"]["text.delta"]
    for wrong in ({"type": "text.delta"}, {"type": "reset", "text": "x"}, {"type": "text.delta", "text": 3}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, {**schema, "components": document["components"]})
