"""The agent's door over HTTP: prompts, streams, and what is said in between."""

from __future__ import annotations

import asyncio

import pytest
from tests.agentops import check_events, check_order
from tests.door import door, events_of
from tests.running import MODEL, asked

from holdfast import Agent, tool
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import Canned

USER = {"role": "user", "content": [{"type": "text", "text": "go"}]}


@tool(effect="none")
async def look(what: str) -> str:
    """Looks."""
    return f"seen: {what}"


class Gate:
    """A tool that waits until the test lets it go on."""

    def __init__(self) -> None:
        self.entered, self.open, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def agent(self) -> Agent:
        @tool(effect="none")
        async def hold() -> str:
            """Holds."""
            self.entered.set()
            try:
                await self.open.wait()
            finally:
                self.left.set()
            return "held"

        return Agent(MODEL, tools=[hold])


@pytest.mark.requirement("server:prompt", "server:stream-headers", "server:working-memory-view")
async def test_a_prompt_is_answered_and_streamed_and_shown_with_its_calls() -> None:
    calls = Turn("Let me look.", calls=[Call("look", {"what": "here"})])
    async with door([calls, "All is well.", "Again."], Agent(MODEL, tools=[look])) as d:
        assert await d.prompt("go") == (200, {"output": "All is well.", "model": MODEL})
        _, memory = await d.ask("GET", "/working-memory")
        assert [each["role"] for each in memory] == ["user", "assistant", "tool", "assistant"]
        assert memory[0] == USER
        call, result = memory[1]["content"][1], memory[2]["content"][0]
        assert (call["type"], result["type"]) == ("tool-call", "tool-result")
        assert call["tool_call_id"] == result["tool_call_id"]
        assert result["output"] == {"type": "text", "text": "seen: here"}
        async with d.stream("more") as frames:
            headers = frames.answer.headers
            assert frames.answer.content_type == "text/event-stream"
            assert headers["Cache-Control"] == "no-cache"
            assert headers["X-Accel-Buffering"] == "no"
            events = await frames.all()
        check_events(events)
        check_order(events)
        assert (events[0]["type"], events[0]["prompt"]) == ("agent_start", "more")
        assert len(events[0]["context_budget"]) == 11
        _, status = await d.ask("GET", "/status")
        assert (status["total_steps"], status["turns"], status["messages"]) == (3, 2, 6)
        assert status["busy"] is False


@pytest.mark.requirement("server:prompt-validation", "server:errors-always-json")
async def test_what_is_no_prompt_is_refused_in_json_and_so_is_what_a_provider_says() -> None:
    canned = Canned(
        status=401, headers={"content-type": "application/json"}, body='{"error":{"message":"no \\"key\\" of yours"}}'
    )
    async with door([Turn(raw=canned)]) as d:
        for body in (b"", b"{", b"[]", b"{}", b'{"prompt":""}', b'{"prompt":7}'):
            headers = {"content-type": "application/json"}
            assert await d.ask("POST", "/prompt", data=body, headers=headers) == (400, {"error": "prompt is required"})
        assert (await d.ask("POST", "/steer", json={}))[1] == {"error": "message is required"}
        status, said = await d.prompt("go")
        assert status == 500
        assert '"' in said["error"]


@pytest.mark.requirement("server:prompt-busy", "server:health-and-status", "server:abort-route")
async def test_one_prompt_at_a_time_and_an_abort_is_over_when_the_run_is() -> None:
    gate = Gate()
    async with door([Turn(calls=[Call("hold", {})]), "done"], gate.agent) as d:
        assert await d.ask("DELETE", "/abort") == (200, {"ok": True})
        async with d.stream("go") as frames:
            await frames.until("tool_call")
            await gate.entered.wait()
            took: list[float] = []
            for _ in range(5):
                began = asyncio.get_running_loop().time()
                assert await d.prompt("me too") == (429, {"error": "agent is busy"})
                took.append(asyncio.get_running_loop().time() - began)
            assert min(took) < 0.05
            assert (await d.ask("POST", "/prompt/stream", json={"prompt": "x"}))[0] == 429
            assert await d.ask("GET", "/healthz") == (200, {"status": "ok"})
            assert (await d.ask("GET", "/status"))[1]["busy"] is True
            assert await d.ask("DELETE", "/abort") == (200, {"ok": True})
            events = await frames.all()
        check_events(events)
        check_order(events)
        assert [each["type"] for each in events[-2:]] == ["agent_error", "session_idle"]
        await d.idle()
        assert (await d.prompt("and now"))[0] == 200


@pytest.mark.requirement("server:disconnect-cancels")
@pytest.mark.parametrize("path", ["/prompt", "/prompt/stream"])
async def test_whoever_asked_and_goes_away_ends_the_run(path: str) -> None:
    gate = Gate()
    async with door([Turn(calls=[Call("hold", {})]), "next"], gate.agent) as d:
        asking = asyncio.create_task(d.ask("POST", path, json={"prompt": "go"}))
        await gate.entered.wait()
        asking.cancel()
        async with asyncio.timeout(1):
            await gate.left.wait()
            await d.idle()
        assert (await d.prompt("again"))[0] == 200


@pytest.mark.requirement("server:steer-route")
async def test_words_in_between_reach_the_next_model_call_in_order_and_wait_where_nobody_works() -> None:
    gate = Gate()
    async with door([Turn(calls=[Call("hold", {})]), "done", "heard"], gate.agent) as d:
        asking = asyncio.create_task(d.prompt("go"))
        await gate.entered.wait()
        for word in ("one", "two"):
            assert await d.ask("POST", "/steer", json={"message": word}) == (200, {"ok": True})
        gate.open.set()
        assert (await asking)[0] == 200
        said = [each["content"] for each in asked(d.s.server)[1] if each["role"] == "user"]
        assert said == ["go", "one", "two"]
        await d.ask("POST", "/steer", json={"message": "three"})
        await d.ask("POST", "/steer", json={"message": "four"})
        events = await events_of(d, "next")
        assert events[0]["prompt"] == "next"
        _, memory = await d.ask("GET", "/working-memory")
        users = [[part["text"] for part in each["content"]] for each in memory if each["role"] == "user"]
        assert users == [["go"], ["one"], ["two"], ["[STEER] three\n", "[STEER] four\n", "next"]]


@pytest.mark.requirement("server:working-memory-clear")
async def test_clearing_begins_anew_also_while_a_run_is_open() -> None:
    gate = Gate()
    async with door([Turn(calls=[Call("hold", {})]), "done"], gate.agent) as d:
        async with d.stream("go") as frames:
            await gate.entered.wait()
            assert await d.ask("DELETE", "/working-memory") == (200, {"ok": True})
            events = await frames.all()
            assert [each["type"] for each in events[-2:]] == ["agent_error", "session_idle"]
        assert await d.ask("GET", "/working-memory") == (200, [])
        _, status = await d.ask("GET", "/status")
        assert (status["turns"], status["messages"], status["busy"], status["total_steps"]) == (0, 0, False, 0)
