"""The life of a session over HTTP: made, asked, followed, spoken to, answered, branched, carried away, deleted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.running import MODEL, Scene, of, scene, soon
from tests.serving import Serving, serving
from tests.surfaces.listening import asked, drain, get, listening, post

from holdfast import Agent, tool
from holdfast.engine.events import CODEC, InputReceived
from holdfast.testing import Call, ScriptRequest, Turn
from holdfast.testing.scripts import Script


@tool(effect="unsafe")
async def pay(to: str, amount: int) -> str:
    """Pays somebody."""
    return f"paid {amount} to {to}"


AGENT = Agent(MODEL, name="clerk", tools=[pay])
PLAIN = Agent(MODEL, name="plain")


@asynccontextmanager
async def house(script: Script, **agents: Agent) -> AsyncGenerator[tuple[Scene, Serving]]:
    async with scene(script) as s, serving(agents or {"plain": PLAIN}, runtime=s.runtime) as served:
        yield s, served


class Held:
    """A model that answers when it may."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts or ("done",)
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, request: ScriptRequest) -> Turn:
        self.asked.set()
        await self.go.wait()
        return Turn(text=self.texts[min(request.answers, len(self.texts) - 1)])


@pytest.mark.requirement("server_sessions:life")
async def test_a_session_is_made_asked_and_tells_all_that_its_log_holds() -> None:
    async with house([Turn(text="Hello there."), Turn(text="Again.")]) as (s, served):
        made = await asked(served, "hi")
        assert made["prompt"]["status"] == "accepted"
        heard = await drain(served, "s")
        log = await s.log()
        assert [each.id for each in heard if each.id is not None] == [event.seq for event in log]
        assert [each.event for each in heard if each.id is not None] == [event.type for event in log]
        assert (heard[0].event, heard[-1].event, heard[-1].data["reason"]) == ("reset", "end", "idle")
        status, outcome = await get(served, f"/sessions/s/runs/{made['prompt']['key']}", params={"wait": 5})
        assert (status, outcome["status"], outcome["output"]) == (200, "completed", "Hello there.")

        status, second = await post(served, "/sessions/s/prompts", {"text": "more"})
        assert (status, second["session"]) == (202, "s")
        again = await drain(served, "s", last=log[-1].seq)
        assert min(each.id for each in again if each.id) == log[-1].seq + 1
        status, view = await get(served, "/sessions/s")
        assert (view["state"], view["runs"], view["last"]["status"], view["waits"]) == ("idle", 2, "completed", [])
        assert view["usage"]["input_tokens"] == 200


@pytest.mark.requirement("server_sessions:steps-as-the-log")
async def test_an_event_is_told_as_the_log_holds_it_over_a_stream_a_page_and_a_socket() -> None:
    async with house([Turn(text="Hello.")]) as (s, served):
        await asked(served, "hi")
        streamed = [each.data for each in await drain(served, "s") if each.id]
        _, page = await get(served, "/sessions/s/events", headers={"accept": "application/json"})
        async with served.client.ws_connect("/v1/sessions/s/stream?until=idle") as socket:
            told = [json.loads(message.data) async for message in socket]
        log = [json.loads(CODEC.encode(event)) for event in await s.log()]
        assert (streamed, page["events"], page["more"]) == (log, log, False)
        assert [each for each in told if "seq" in each] == log
        assert (told[0], told[-1]) == ({"type": "reset", "reason": "joined"}, {"type": "end", "reason": "idle"})
        _, first = await get(served, "/sessions/s/events?limit=2", headers={"accept": "application/json"})
        assert ([each["seq"] for each in first["events"]], first["after"], first["more"]) == ([1, 2], 2, True)


@pytest.mark.requirement("server_sessions:deltas-before-the-end")
async def test_text_comes_while_the_model_speaks_and_adds_up_to_its_answer() -> None:
    text = "one two three four five six seven"
    async with house([Turn(text=text, chunk=4)]) as (_, served):
        await asked(served, "hi")
        deltas, final = "", ""
        for each in await drain(served, "s"):
            if each.event == "text.delta":
                assert not final, "text came after the answer was whole"
                deltas += each.data["text"]
            elif each.event == "reset":
                deltas = ""
            elif each.event == "model.finished":
                final = each.data["data"]["message"]["parts"][0]["text"]
        assert final == text
        assert deltas in (text, "")


@pytest.mark.requirement("server_sessions:turn-once", "server:turn-idempotent")
async def test_two_prompts_of_one_idempotency_key_are_one_run_also_at_the_same_time() -> None:
    async with house([Turn(text="once"), Turn(text="twice")]) as (s, served):
        await post(served, "/sessions", {"name": "s"})
        answers = await asyncio.gather(
            *(post(served, "/sessions/s/prompts", {"text": "hi"}, headers={"idempotency-key": "k1"}) for _ in range(8))
        )
        assert sorted(status for status, _ in answers) == [200] * 7 + [202]
        assert {body["key"] for _, body in answers} == {"k1"}
        await drain(served, "s")
        status, body = await post(served, "/sessions/s/prompts", {"text": "hi", "key": "k1"})
        assert (status, body["status"]) == (200, "duplicate")
        assert (await s.kinds()).count("run.started") == 1
        status, body = await post(
            served, "/sessions/s/prompts", {"text": "hi", "key": "k2"}, headers={"idempotency-key": "k3"}
        )
        assert (status, body["code"]) == (400, "bad_key")


@pytest.mark.requirement("server_sessions:created-once")
async def test_a_session_that_is_made_twice_under_one_key_is_one_and_a_taken_name_is_a_conflict() -> None:
    async with house([Turn(text="once")]) as (_, served):
        body, key = {"prompt": {"text": "hi"}}, {"idempotency-key": "make-it"}
        (first, made), (second, same) = [await post(served, "/sessions", body, headers=key) for _ in range(2)]
        assert (first, second, made["session"]) == (201, 200, same["session"])
        assert same["prompt"]["status"] == "duplicate"
        status, empty = await post(served, "/sessions", {"name": "mine"})
        assert (status, empty["session"]) == (201, "mine")
        status, problem = await post(served, "/sessions", {"name": "mine"})
        assert (status, problem["code"]) == (409, "session_exists")
        status, problem = await post(served, "/sessions", {"name": "mine", "prompt": {"text": "hi"}})
        assert (status, problem["code"]) == (409, "session_exists")
        both = await asyncio.gather(*(post(served, "/sessions", {"name": "raced"}) for _ in range(5)))
        assert sorted(status for status, _ in both) == [201, 409, 409, 409, 409]


@pytest.mark.requirement("server_sessions:order")
async def test_prompts_of_one_session_run_one_after_another_in_the_order_in_which_they_came() -> None:
    model = Held("a", "b", "c")
    async with house(model) as (s, served):
        await asked(served, "1")
        await soon(model.asked.wait())
        for text in ("2", "3"):
            assert (await post(served, "/sessions/s/prompts", {"text": text}))[0] == 202
        status, busy = await post(served, "/sessions/s/prompts", {"text": "4", "if_idle": True})
        assert (status, busy["code"]) == (409, "session_busy")
        model.go.set()
        await drain(served, "s")
        said = [each.message.text for each in of(InputReceived, await s.log())]
        kinds = [kind for kind in await s.kinds() if kind in ("run.started", "run.finished")]
        assert (said, kinds) == (["1", "2", "3"], ["run.started", "run.finished"] * 3)


@pytest.mark.requirement("server_sessions:steer")
async def test_what_is_said_meanwhile_joins_the_run_once() -> None:
    model = Held("first", "second", "third")
    async with house(model) as (s, served):
        await asked(served, "go")
        await soon(model.asked.wait())
        assert (await post(served, "/sessions/s/steer", {"text": "left", "key": "x"}))[0] == 202
        assert (await post(served, "/sessions/s/steer", {"text": "left", "key": "x"}))[0] == 200
        assert (await post(served, "/sessions/s/follow-up", {"text": "then right"}))[0] == 202
        model.go.set()
        await drain(served, "s")
        texts = [each.message.text for each in of(InputReceived, await s.log())]
        assert texts == ["go", "left", "then right"]
        assert (await s.kinds()).count("run.started") == 1
        status, problem = await post(served, "/sessions/s/steer", {"text": "", "parts": []})
        assert (status, problem["code"]) == (400, "bad_body")


@pytest.mark.requirement("server_sessions:pause")
async def test_a_paused_session_begins_nothing_until_it_is_resumed() -> None:
    async with house([Turn(text="one"), Turn(text="two")]) as (s, served):
        await asked(served, "hi")
        await drain(served, "s")
        assert (await post(served, "/sessions/s/pause", {"reason": "lunch"}))[0] == 202
        assert (await post(served, "/sessions/s/prompts", {"text": "more"}))[0] == 202
        async with listening(served, "s", until="forever") as listener:
            async for each in listener:
                if each.event.endswith("paused"):
                    break
        _, view = await get(served, "/sessions/s")
        assert (view["phase"], view["paused"], view["runs"]) == ("paused", True, 1)
        assert (await post(served, "/sessions/s/resume"))[0] == 202
        await drain(served, "s")
        assert (await s.kinds()).count("run.finished") == 2


@pytest.mark.requirement("server_sessions:interrupt")
async def test_an_abort_ends_what_is_under_way_and_harms_nothing_when_idle() -> None:
    model = Held("never")
    async with house(model) as (_, served):
        made = await asked(served, "go")
        await soon(model.asked.wait())
        assert (await post(served, "/sessions/s/abort", {"reason": "enough"}))[0] == 202
        assert (await drain(served, "s"))[-1].data["reason"] == "idle"
        _, outcome = await get(served, f"/sessions/s/runs/{made['prompt']['key']}")
        assert (outcome["status"], outcome["reason"]) == ("aborted", "enough")
        assert (await post(served, "/sessions/s/abort"))[0] == 202
        model.go.set()
        status, more = await post(served, "/sessions/s/proceed")
        assert status == 202
        _, outcome = await get(served, f"/sessions/s/runs/{more['key']}", params={"wait": 5})
        assert outcome["status"] == "completed"
        assert (await post(served, "/sessions/s/exit", {"reason": "bye"}))[0] == 202
        assert (await drain(served, "s"))[-1].event == "end"
        status, problem = await post(served, "/sessions/s/prompts", {"text": "hi"})
        assert (status, problem["code"]) == (410, "session_exited")


@pytest.mark.requirement("server_sessions:interrupt")
async def test_a_prompt_that_interrupts_ends_the_open_run_once_and_is_answered_next() -> None:
    model = Held("never", "at once")
    async with house(model) as (s, served):
        made = await asked(served, "go")
        await soon(model.asked.wait())
        body = {"text": "no, this", "interrupt": True, "key": "k"}
        assert (await post(served, "/sessions/s/prompts", body))[0] == 202
        _, first = await get(served, f"/sessions/s/runs/{made['prompt']['key']}", params={"wait": 5})
        assert (first["status"], first["reason"]) == ("aborted", "interrupted by another prompt")
        assert (await post(served, "/sessions/s/prompts", body))[0] == 200  # which does not end what it began
        model.go.set()
        _, second = await get(served, "/sessions/s/runs/k", params={"wait": 5})
        assert second["status"] == "completed"
        kinds = [kind for kind in await s.kinds() if kind in ("run.started", "run.finished")]
        assert kinds == ["run.started", "run.finished"] * 2
        assert (await post(served, "/sessions/s/prompts", {**body, "if_idle": True}))[0] == 400


def _wants_to_pay(request: ScriptRequest) -> Turn:
    if request.tool_results:
        return Turn(text=f"it said: {request.last_result}")
    return Turn(calls=[Call("pay", {"to": "ann", "amount": 5})])


@pytest.mark.requirement("server_sessions:waits")
async def test_an_approval_is_listed_answered_once_and_then_a_conflict() -> None:
    async with house(_wants_to_pay, clerk=AGENT) as (_, served):
        made = await asked(served, "pay ann", mode="ask")
        waits = await _waits(served)
        assert [(each["session"], each["kind"], each["tool"]) for each in waits] == [("s", "approval", "pay")]
        path = f"/sessions/s/waits/{waits[0]['token'].replace('/', '%2F')}"
        assert (await post(served, path, {"decision": "answer", "answers": ["x"]}))[0] == 422
        status, wrong = await post(served, path, {"decision": "approve", "arguments": {"to": 7}})
        assert (status, wrong["code"]) == (400, "usage")
        answers = await asyncio.gather(
            *(post(served, path, {"decision": "approve", "arguments": {"to": "bob", "amount": 1}}) for _ in range(4))
        )
        assert sorted(status for status, _ in answers) == [202, 409, 409, 409]
        _, outcome = await get(served, f"/sessions/s/runs/{made['prompt']['key']}", params={"wait": 5})
        assert outcome["output"].endswith("paid 1 to bob")
        status, problem = await post(served, path, {"decision": "deny"})
        assert (status, problem["code"]) == (409, "not_pending")
        assert (await get(served, "/waits"))[1] == {"waits": []}


@pytest.mark.requirement("server_sessions:deny")
async def test_what_is_denied_is_not_done_and_the_model_reads_why() -> None:
    async with house(_wants_to_pay, clerk=AGENT) as (_, served):
        made = await asked(served, "pay ann", mode="ask")
        (wait,) = await _waits(served)
        path = f"/sessions/s/waits/{wait['token'].replace('/', '%2F')}"
        assert (await post(served, path, {"decision": "deny", "reason": "too dear"}))[0] == 202
        _, outcome = await get(served, f"/sessions/s/runs/{made['prompt']['key']}", params={"wait": 5})
        assert "too dear" in outcome["output"] and outcome["denied"] == 1


@pytest.mark.requirement("server_sessions:review")
async def test_an_answer_under_review_is_done_again_and_then_accepted() -> None:
    async with house([Turn(text="draft"), Turn(text="better")]) as (_, served):
        made = await asked(served, "write", control={"review": 1})
        (wait,) = await _waits(served)
        assert (wait["kind"], wait["prompt"]) == ("review", "draft")
        path = f"/sessions/s/waits/{wait['token'].replace('/', '%2F')}"
        assert (await post(served, path, {"decision": "changes", "reason": "shorter"}))[0] == 202
        while not (again := await _waits(served)) or again[0]["token"] == wait["token"]:
            pass
        path = f"/sessions/s/waits/{again[0]['token'].replace('/', '%2F')}"
        assert (await post(served, path, {"decision": "approve"}))[0] == 202
        _, outcome = await get(served, f"/sessions/s/runs/{made['prompt']['key']}", params={"wait": 5})
        assert outcome["output"] == "better"


async def _waits(served: Serving) -> list[dict[str, Any]]:
    """Returns what waits, once something does."""
    async with asyncio.timeout(5):
        while not (found := (await get(served, "/waits"))[1]["waits"]):
            pass
    return found
