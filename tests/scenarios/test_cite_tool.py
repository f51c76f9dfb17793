"""Citing in whole runs: what was touched is what the log says, also after a restart, and no other run's."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.loopback import Request, Server, answer, serving
from tests.running import MODEL, Scene, of, scene, seen, soon

from holdfast import Agent, ToolContext, ToolResult, tool
from holdfast.engine.events import ToolFinished
from holdfast.safety.addresses import TRUSTED
from holdfast.testing import Call, Turn
from holdfast.testing.faults import Hang
from holdfast.tools.builtin.fetch import fetch_tool

FETCH = fetch_tool(TRUSTED)
REFUSED = "url_not_in_run_history"
STAYS = "https://source.example/found?x=1"


@tool(effect="none")
async def look() -> ToolResult:
    """Finds something, as a search does."""
    return ToolResult(
        "found", metadata={"urls": [STAYS, 7, None, ["https://inner.example/"]], "url": "https://no.example/"}
    )


@tool(effect="none")
async def odd() -> ToolResult:
    """Says odd things of itself."""
    return ToolResult("odd", metadata={"urls": "https://text.example/", "finalUrl": None, "url": {"a": 1}})


@tool(effect="none")
async def script(context: ToolContext) -> str:
    """Searches on behalf of the model."""
    return (await context.call("look")).content


async def hop(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
    path = request.line.split()[1]
    if path.startswith("/old"):
        writer.write(answer(status="302 Found", headers="Location: /new\r\n"))
    elif path.startswith("/gone"):
        writer.write(answer(b"no", status="404 Not Found", headers="Content-Type: text/plain\r\n"))
    else:
        writer.write(answer(b"there", headers="Content-Type: text/plain\r\n"))


def cite(url: str, **more: str) -> Call:
    return Call("cite", {"url": url, **more})


async def outcomes(s: Scene, session: str = "s") -> list[dict[str, Any]]:
    """What the calls of `cite` came to."""
    results = [each.result for each in of(ToolFinished, await s.log(session))]
    cited = [each for each in results if each.metadata.get("ui") == "citation"]
    for each in cited:
        assert (each.error is None) == json.loads(each.content)["ok"]
        assert each.error is None or each.error.reason == REFUSED
    return [json.loads(each.content) for each in cited]


@pytest.mark.requirement("tools:citation-touched-only")
async def test_what_was_fetched_may_be_cited_and_nothing_else() -> None:
    async with serving(hop) as server:
        url = server.url
        turns = [
            Turn(calls=[cite(f"{url}/old")]),
            Turn(calls=[Call("fetch", {"url": f"{url}/old#a"}), Call("fetch", {"url": f"{url}/gone"})]),
            Turn(calls=[Call("fetch", {"url": "http://127.0.0.1:9/closed"})]),
            Turn(
                calls=[
                    cite(f"{url}/old", title="Old", quote="there"),
                    cite(f"{url.replace('http', 'HTTP')}/new#b"),
                    cite(f"{url}/gone"),
                    cite("http://127.0.0.1:9/closed"),
                    cite(f"{url}/other"),
                    cite("no address"),
                ]
            ),
            "done",
        ]
        async with scene(turns) as s:
            agent = Agent(MODEL, tools=[FETCH, "cite"])
            assert (await soon((await s.runtime.start(agent, "go", session="s")).result())).output == "done"
            before, *after = await outcomes(s)
    assert before == {"ok": False, "reason": REFUSED, "url": f"{url}/old"}
    assert [each["ok"] for each in after] == [True, True, False, False, False, False]
    assert after[0] == {"ok": True, "url": f"{url}/old", "title": "Old", "quote": "there"}


@pytest.mark.requirement("tools:citation-touched-only", "knowing:cite-survives")
async def test_what_a_call_below_a_call_found_counts_and_what_another_run_found_does_not() -> None:
    turns = [
        Turn(calls=[Call("script")]),
        Turn(calls=[cite(STAYS)]),
        "one",
        Turn(calls=[cite(STAYS)]),
        "two",
    ]
    other = [Turn(calls=[cite(STAYS)]), "three"]
    async with scene({MODEL.partition("/")[2]: turns, "other": other}) as s:
        for prompt, session, model in (("go", "s", MODEL), ("again", "s", MODEL), ("elsewhere", "t", "openai/other")):
            agent = Agent(model, tools=[look, script, "cite"])
            await soon((await s.runtime.start(agent, prompt, session=session)).result())
        assert [each["ok"] for each in await outcomes(s)] == [True, False]
        assert [each["ok"] for each in await outcomes(s, "t")] == [False]


@pytest.mark.requirement("knowing:cite-survives")
async def test_what_was_touched_before_a_restart_may_be_cited_after_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    turns = [
        Turn(calls=[Call("look")]),
        Turn(calls=[cite(STAYS), cite("https://no.example/")], fault=Hang(times=1)),
        "done",
    ]
    async with scene(turns, url=url) as s:
        agent = Agent(MODEL, tools=[look, "cite"])
        run = await s.runtime.start(agent, "go", session="s")
        await soon(seen(run, "tool.finished"))
        await soon(s.server.arrived(2))
        await s.runtime.close()
        async with s.other() as other:
            assert (await soon((await other.resume("s")).result())).output == "done"
            s.runtime = other
            assert [each["ok"] for each in await outcomes(s)] == [True, False]


@pytest.mark.requirement("knowing:cite-survives")
async def test_a_tool_that_says_odd_things_of_itself_touches_nothing() -> None:
    cited = ["https://text.example/", "https://inner.example/", "None"]
    turns = [Turn(calls=[Call("odd"), Call("look")]), Turn(calls=[cite(each) for each in cited]), "done"]
    async with scene(turns) as s:
        agent = Agent(MODEL, tools=[odd, look, "cite"])
        assert (await soon((await s.runtime.start(agent, "go", session="s")).result())).output == "done"
        assert [each["ok"] for each in await outcomes(s)] == [False] * 3
