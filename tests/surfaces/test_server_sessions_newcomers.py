"""What somebody tries first who has only the description: it works, or the answer says what does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.reaching import at_server
from tests.running import MODEL, of, scene
from tests.serving import serving
from tests.surfaces.listening import asked, drain, get, post
from tests.surfaces.test_server_sessions import AGENT, PLAIN, Held
from tests.surfaces.test_server_sessions_more import house

from holdfast import Agent, Runtime
from holdfast.engine.events import InputReceived
from holdfast.errors import UnknownSession
from holdfast.testing import Call, Turn

OTHER = Agent(MODEL, name="other")
PAYING = [Turn(calls=[Call("pay", {"to": "ann", "amount": 5})]), Turn(text="paid")]


@pytest.mark.requirement("server_sessions:made-by-a-prompt")
async def test_a_prompt_to_a_name_that_is_free_makes_the_session_and_everything_else_says_what_does() -> None:
    async with house([Turn(text="Hello.")]) as (s, served):
        status, problem = await post(served, "/sessions/new/steer", {"text": "hi"})
        assert (status, problem["code"]) == (404, "unknown_session")
        assert "POST /v1/sessions makes one" in problem["detail"]
        status, made = await post(served, "/sessions/new/prompts", {"text": "hi", "key": "k"})
        assert (status, made) == (202, {"session": "new", "key": "k", "status": "accepted"})
        _, outcome = await get(served, "/sessions/new/runs/k", params={"wait": 5})
        assert outcome["output"] == "Hello."
        for body, wrong in (({"text": ""}, 400), ({"text": "hi", "agent": "nobody"}, 422)):
            assert (await post(served, "/sessions/none/prompts", body))[0] == wrong
            assert not await s.runtime.exists("none")  # what is refused makes nothing
        theirs = {"x-who": "other/bob"}
        before = await s.log("new")
        assert (await post(served, "/sessions/new/prompts", {"text": "hi", "key": "k"}, headers=theirs))[0] == 202
        assert await s.log("new") == before  # of one name, and not the same session


@pytest.mark.requirement("server_sessions:key-of-other-words")
async def test_a_key_that_comes_again_with_other_words_is_a_conflict_and_with_the_same_ones_a_duplicate() -> None:
    model = Held("done")
    image = {"type": "image", "media_type": "image/png", "data": "iVBORw0KGgo="}
    async with house(model, plain=PLAIN, other=OTHER) as (s, served):
        path, body = "/sessions/s/prompts", {"text": "100 bolts", "agent": "plain", "key": "k"}
        assert (await post(served, path, body))[0] == 202

        async def conflicts() -> None:
            assert (await post(served, path, body))[0] == 200
            for changed in (
                {"text": "200 bolts"},
                {"text": "", "parts": [{"type": "text", "text": "100 bolts"}, image]},
                {"agent": "other"},
            ):
                status, problem = await post(served, path, body | changed)
                assert (status, problem["code"]) == (409, "key_reused"), changed
            for other in ("steer", "follow-up", "pause", "abort"):
                words = {"text": "100 bolts"} if other in ("steer", "follow-up") else {}
                status, problem = await post(served, f"/sessions/s/{other}", words | {"key": "k"})
                assert (status, problem["code"]) == (409, "key_reused"), other

        await conflicts()
        model.go.set()
        await drain(served, "s")
        await conflicts()  # of a run that is over, too
        assert (await post(served, "/sessions/s/steer", {"text": "left", "key": "x"}))[0] == 202
        await drain(served, "s")
        assert (await post(served, "/sessions/s/steer", {"text": "left", "key": "x"}))[0] == 200
        assert (await post(served, "/sessions/s/steer", {"text": "right", "key": "x"}))[0] == 409
        assert [each.message.text for each in of(InputReceived, await s.log())] == ["100 bolts", "left"]
        await s.runtime.scrub("s", match="bolts")
        assert (await post(served, path, body))[0] == 200  # nobody knows any more what its words were
        assert (await post(served, path, body | {"agent": "other"}))[0] == 409


@pytest.mark.requirement("server_sessions:key-of-other-words")
async def test_a_key_is_known_with_its_words_after_a_restart_and_while_nobody_has_read_it(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/log.db"
    first = {"prompt": {"text": "100 bolts"}}
    other = {"prompt": {"text": "200 bolts"}}
    key = {"idempotency-key": "order"}
    async with scene([Turn(text="done"), Turn(text="done")], url=store) as s:
        async with serving({"plain": PLAIN}, runtime=s.runtime) as served:
            status, made = await post(served, "/sessions", first, headers=key)
            assert status == 201
            await drain(served, made["session"])
            await post(served, f"/sessions/{made['session']}/pause")
            await post(served, f"/sessions/{made['session']}/prompts", {"text": "queued", "key": "q"})
        async with Runtime.open(store) as again, serving({"plain": PLAIN}, runtime=again) as served:
            assert (await post(served, "/sessions", first, headers=key))[0] == 200
            status, problem = await post(served, "/sessions", other, headers=key)
            assert (status, problem["code"]) == (409, "key_reused")
            for text, wanted in (("queued", 200), ("else", 409)):
                body = {"text": text, "key": "q"}
                assert (await post(served, f"/sessions/{made['session']}/prompts", body))[0] == wanted


@pytest.mark.requirement("server_sessions:agent-of-the-last")
async def test_a_session_goes_on_with_the_agent_that_it_asked_last_where_several_are_served() -> None:
    async with house([Turn(text="hi")] * 8, plain=PLAIN, other=OTHER) as (_, served):
        status, problem = await post(served, "/sessions/s/prompts", {"text": "hi"})
        assert (status, problem["code"]) == (422, "unknown_agent")

        async def answers(session: str, **more: Any) -> str:
            status, made = await post(served, f"/sessions/{session}/prompts", {"text": "hi", **more})
            assert status == 202, made
            await get(served, f"/sessions/{session}/runs/{made['key']}", params={"wait": 5})
            return (await get(served, f"/sessions/{session}"))[1]["last"]["agent"]

        assert await answers("s", agent="plain") == "plain"
        assert await answers("s") == "plain"
        assert await answers("s", agent="other") == "other"
        assert await answers("s") == "other"
        await post(served, "/sessions/s/fork", {"name": "b"})
        assert await answers("b") == "other"
        only = {"x-who": "local/ann/pl*"}
        status, made = await post(served, "/sessions/s/prompts", {"text": "hi"}, headers=only)
        assert status == 202, made  # the only one that she may ask, whoever was asked last


@pytest.mark.requirement("server_sessions:wait-by-id")
@pytest.mark.parametrize(("by", "slash"), [("id", "/"), ("token", "%2F"), ("token", "/")])
async def test_what_waits_is_answered_by_its_id_as_well_as_by_its_token_as_it_is(by: str, slash: str) -> None:
    async with house(PAYING, clerk=AGENT) as (_, served):
        made = await asked(served, "pay ann", mode="ask")
        waits: list[Any] = []
        while not waits:
            waits = (await get(served, "/sessions/s/waits"))[1]["waits"]
        path = f"/sessions/s/waits/{waits[0][by].replace('/', slash)}"
        for wrong in ("//x", "/", "/../x", "/%2e%2e/x"):
            assert (await post(served, f"/sessions/s/waits{wrong}", {"decision": "approve"}))[0] in (404, 405), wrong
        status, problem = await post(served, path, {"decision": "yes"})
        assert status == 400
        assert all(repr(each) in problem["detail"] for each in ("approve", "deny", "changes", "answer"))
        assert (await post(served, path, {"decision": "approve"}))[0] == 202
        _, outcome = await get(served, f"/sessions/s/runs/{made['prompt']['key']}", params={"wait": 5})
        assert outcome["output"] == "paid"
        assert (await post(served, path, {"decision": "approve"}))[0] == 409


@pytest.mark.requirement("server_sessions:beyond-the-end")
async def test_whoever_names_an_event_beyond_the_end_is_told_so_and_gets_all_there_is() -> None:
    async with house([Turn(text="one"), Turn(text="two"), Turn(text="three")]) as (s, served):
        await asked(served, "hi")
        await drain(served, "s")
        await post(served, "/sessions/s/prompts", {"text": "more"})
        await drain(served, "s")
        known = (await s.log())[-1].seq
        assert (await drain(served, "s", last=known))[0].data["reason"] == "joined"
        async with served.client.delete("/v1/sessions/s") as answer:
            assert answer.status == 204
        await asked(served, "anew")
        await drain(served, "s")
        log = [each.seq for each in await s.log()]
        assert log[-1] < known
        for where in ({"last": known}, {"after": known}):
            heard = await drain(served, "s", **where)
            assert (heard[0].event, heard[0].data) == ("reset", {"type": "reset", "reason": "beyond"})
            assert [each.id for each in heard if each.id] == log
        async with served.client.ws_connect(f"/v1/sessions/s/stream?until=idle&after={known}") as socket:
            told = [json.loads(message.data) async for message in socket]
        assert told[0] == {"type": "reset", "reason": "beyond"}
        assert [each["seq"] for each in told if "seq" in each] == log
        status, problem = await get(served, f"/sessions/s/events?after={known}", headers={"accept": "application/json"})
        assert (status, problem["code"]) == (409, "beyond_the_end")


@pytest.mark.requirement("server_sessions:beyond-the-end")
async def test_a_command_that_followed_a_session_which_was_made_anew_says_so(tmp_path: Path) -> None:
    async with scene([Turn(text="one")], url=f"sqlite:///{tmp_path}/log.db") as s, at_server(s) as (sessions, _):
        await (await s.runtime.start(PLAIN, "hi", session="s")).result()
        with pytest.raises(UnknownSession, match="another one has its name"):
            async for _ in sessions.follow("s", after=1000):
                pass


@pytest.mark.requirement("server_sessions:misfits-told")
@pytest.mark.parametrize(
    ("path", "body", "known"),
    [
        ("/sessions", {"session": "s"}, ["name", "prompt"]),
        ("/sessions", {"prompt": {"prompt": "hi"}}, ["text", "parts", "agent", "mode"]),
        ("/sessions", {"prompt": {"text": "hi", "mode": "yolo"}}, ["'auto'", "'ask'", "'read-only'"]),
        ("/sessions", {"prompt": {"text": "hi", "limits": {"stepz": 1}}}, ["steps", "dollars"]),
        ("/sessions", {"prompt": {"parts": [{"type": "exec"}]}}, ["text", "image", "document"]),
        ("/sessions", {"prompt": {"parts": [{"type": "text", "words": "x"}]}}, ["type", "text"]),
    ],
)
async def test_a_field_or_a_value_that_there_is_not_is_answered_with_those_that_there_are(
    path: str, body: Any, known: list[str]
) -> None:
    async with house([Turn(text="hi")]) as (_, served):
        status, problem = await post(served, path, body)
        assert (status, problem["code"]) == (400, "bad_body")
        there = problem["detail"].rpartition("there is ")[2].split(", ")
        assert set(known) <= set(there), problem["detail"]
        status, problem = await post(served, path, {"x" * 100_000: 1})
        assert status == 400 and len(problem["detail"]) < 1_500
        status, problem = await get(served, "/sessions?state=asleep")
        assert status == 400 and "'idle'" in problem["detail"]


@pytest.mark.requirement("server_sessions:one-name-for-where")
async def test_a_fork_says_how_many_events_it_shares_and_a_rewind_takes_its_end_by_the_same_name() -> None:
    async with house([Turn(text="one"), Turn(text="two")]) as (s, served):
        await asked(served, "hi")
        await drain(served, "s")
        end = (await s.log())[-1].seq
        assert (await post(served, "/sessions/s/fork", {"at": end - 1}))[1]["events"] == end - 1
        assert (await post(served, "/sessions/s/fork"))[1]["events"] == end
        await post(served, "/sessions/s/prompts", {"text": "more"})
        await drain(served, "s")
        for body in ({"at": end}, {"to": end}):
            assert (await post(served, "/sessions/s/rewind", body))[0] == 200
        for body in ({}, {"at": end, "to": end}):
            status, problem = await post(served, "/sessions/s/rewind", body)
            assert (status, problem["code"]) == (400, "bad_body")
