"""What else there is around sessions: lists, branches, files, tools elsewhere, deliveries, agents; and whose it is."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.running import MODEL, Scene, scene
from tests.serving import Serving, serving
from tests.surfaces.listening import asked, drain, get, post

from holdfast import Agent, Runtime
from holdfast.server.access.port import Asked
from holdfast.server.access.principal import EVERYTHING, Principal
from holdfast.server.doors.sessions import prompting, table
from holdfast.server.doors.sessions.prompting import Bounded, Places
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import Script
from holdfast.types import Limits, TenantId

PLAIN = Agent(MODEL, name="plain")
EDITOR = Agent(MODEL, name="editor", tools=["write", "read"])


class ByHeader:
    """Recognises whoever a header names: `tenant/user/agents`."""

    async def identify(self, asked: Asked) -> Principal | None:
        name = asked.headers.get("x-who", "")
        if not name:
            return None
        tenant, user, agents = [*name.split("/"), "", ""][:3]
        allowed = tuple(agents.split(",")) if agents else None
        return Principal(tenant=TenantId(tenant), user=user, scopes=EVERYTHING, how="key", agents=allowed)

    async def close(self) -> None:
        pass


@asynccontextmanager
async def house(script: Script, url: str = "memory:", **agents: Agent) -> AsyncGenerator[tuple[Scene, Serving]]:
    async with (
        scene(script, url=url) as s,
        serving(agents or {"plain": PLAIN}, runtime=s.runtime, access=ByHeader()) as served,
    ):
        served.client.headers["x-who"] = "local/ann"
        yield s, served


@pytest.mark.requirement("server_sessions:pages")
@given(
    names=st.sets(st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9._:-]{0,5}", fullmatch=True), max_size=12),
    limit=st.integers(1, 5),
)
@settings(max_examples=20, deadline=None)
def test_pages_of_any_size_show_each_session_once_by_name(names: set[str], limit: int) -> None:
    async def go() -> None:
        async with Runtime.open("memory:") as runtime:
            for name in names:
                await runtime.create(name)
            seen: list[str] = []
            after = ""
            while True:
                page = await runtime.sessions(after=after, limit=limit)
                seen += [each.session for each in page.sessions]
                assert len(page.sessions) <= limit
                if not (after := page.after):
                    break
            assert seen == sorted(names)

    asyncio.run(go())


@pytest.mark.requirement("server_sessions:pages")
async def test_a_list_shows_how_each_stands_and_what_its_last_run_came_to() -> None:
    async with house([Turn(text="hi")]) as (_, served):
        await post(served, "/sessions", {"name": "empty"})
        await asked(served, "hello\n  you", name="full")
        await drain(served, "full")
        _, page = await get(served, "/sessions")
        empty, full = page["sessions"]
        assert (empty["session"], empty["state"], empty["last"]) == ("empty", "idle", None)
        last = full["last"]
        assert (last["status"], last["prompt"], last["steps"]) == ("completed", "hello you", 1)
        assert (await get(served, "/sessions?state=waiting"))[1]["sessions"] == []
        assert len((await get(served, "/sessions?state=idle&state=ended"))[1]["sessions"]) == 2
        assert (await get(served, "/sessions?state=nothing"))[0] == 400


@pytest.mark.requirement("server_sessions:other-tenant")
async def test_everything_of_another_tenant_is_not_there() -> None:
    async with house(_edits, editor=EDITOR) as (_, served):
        await asked(served, "secret of ann")
        await drain(served, "s")
        _, kept = await _upload(served, b"secret of ann")
        await post(served, "/sessions", {"name": "theirs"}, headers={"x-who": "other/bob"})
        theirs = {"x-who": "other/bob"}
        for route in table.ROUTES:
            path = (
                route.path.removeprefix("/v1").replace("{session}", "s").replace("{key}", "k").replace("{token}", "t")
            )
            if "/s" not in path.removeprefix("/sessions") or "/sessions/s" not in path or path.endswith("prompts"):
                continue
            async with served.client.request(route.method, f"/v1{path}", json=_fitting(path), headers=theirs) as answer:
                text = await answer.text()
                assert (answer.status, json.loads(text)["code"]) == (404, "unknown_session"), path
                assert "secret" not in text
        assert [each["session"] for each in (await get(served, "/sessions", headers=theirs))[1]["sessions"]] == [
            "theirs"
        ]
        assert (await get(served, "/waits", headers=theirs))[1] == {"waits": []}
        body = {"text": "read it", "files": [kept["id"]]}
        status, problem = await post(served, "/sessions/theirs/prompts", body, headers=theirs)
        assert (status, problem["code"]) == (400, "usage")
        status, problem = await post(served, "/callbacks?token=local/s/1/c", headers=theirs)
        assert (status, problem["code"]) == (404, "unknown_token")
        with pytest.raises(Exception, match="404"):
            await served.client.ws_connect("/v1/sessions/s/stream", headers=theirs)


def _fitting(path: str) -> Any:
    if path.endswith(("prompts", "steer", "follow-up")):
        return {"text": "hi"}
    if path.endswith("rewind"):
        return {"to": 1}
    return {"decision": "approve"} if "/waits/" in path else {}


async def _upload(served: Serving, data: bytes, name: str = "a.txt") -> tuple[int, Any]:
    async with served.client.post("/v1/uploads", params={"name": name}, data=io.BytesIO(data)) as answer:
        return answer.status, await answer.json()


def _edits(request: Any) -> Turn:
    if not request.tool_results:
        return Turn(calls=[Call("write", {"path": "a.txt", "content": request.last_user_text + "\n"})])
    if request.answers % 2 == 0:
        return Turn(calls=[Call("write", {"path": "a.txt", "content": request.last_user_text + "\n"})])
    return Turn(text="written")


@pytest.mark.requirement("server_sessions:branches")
async def test_a_session_is_forked_diffed_rewound_exported_imported_and_deleted(tmp_path: Path) -> None:
    async with house(_edits, f"sqlite:///{tmp_path}/log.db", editor=EDITOR) as (s, served):
        await asked(served, "one")
        await drain(served, "s")
        end = (await s.log())[-1].seq
        await post(served, "/sessions/s/prompts", {"text": "two"})
        await drain(served, "s")
        _, diff = await get(served, "/sessions/s/diff", params={"since": end})
        assert [(each["path"], each["kind"]) for each in diff["changes"]] == [("a.txt", "modified")]
        assert "-one" in diff["text"] and "+two" in diff["text"]

        status, made = await post(served, "/sessions/s/fork", {"at": end, "name": "b"})
        assert (status, made["session"]) == (201, "b")
        assert (await post(served, "/sessions/s/fork", {"name": "b"}))[0] == 409
        assert (await s.runtime.home("b") / "a.txt").read_text() == "one\n"
        status, back = await post(served, "/sessions/s/rewind", {"to": end})
        assert status == 200 and (await s.runtime.home("s") / "a.txt").read_text() == "one\n"
        await post(served, "/sessions/s/rewind", {"to": back["seq"]})
        assert (await s.runtime.home("s") / "a.txt").read_text() == "two\n"

        async with served.client.get("/v1/sessions/s/export") as answer:
            assert answer.content_type == "application/x-ndjson"
            lines = await answer.read()
        async with served.client.post("/v1/imports?name=c", data=io.BytesIO(lines)) as answer:
            assert (answer.status, (await answer.json())["session"]) == (201, "c")
        async with served.client.post("/v1/imports?name=c", data=io.BytesIO(lines)) as answer:
            assert answer.status == 409
        async with served.client.post("/v1/imports?name=d", data=io.BytesIO(lines[:-100])) as answer:
            assert answer.status == 400
        assert (await s.runtime.home("c") / "a.txt").read_text() == "two\n"
        for name in ("s", "b", "c"):
            async with served.client.delete(f"/v1/sessions/{name}") as answer:
                assert answer.status == 204
        assert (await get(served, "/sessions"))[1]["sessions"] == []


@pytest.mark.requirement("server_sessions:uploads")
async def test_an_upload_is_read_by_the_prompt_that_names_it_and_by_no_other() -> None:
    def reads(request: Any) -> Turn:
        if request.tool_results:
            return Turn(text=f"it says: {request.last_result}")
        return Turn(calls=[Call("read", {"path": request.last_user_text.split('"')[1]})])

    async with house(reads, editor=EDITOR) as (_, served):
        status, kept = await _upload(served, b"forty-two", "../../etc/answer.txt")
        assert (status, kept["name"], kept["size"]) == (201, "answer.txt", 9)
        made = await asked(served, "look", files=[kept["id"]])
        _, outcome = await get(served, f"/sessions/s/runs/{made['prompt']['key']}", params={"wait": 5})
        assert "forty-two" in outcome["output"]
        for wrong in ("upload-" + "0" * 64, "upload-../../etc/passwd", "x", "sha256:" + "0" * 64):
            status, problem = await post(served, "/sessions/s/prompts", {"text": "hi", "files": [wrong]})
            assert (status, problem["code"]) == (400, "usage")
        assert (await _upload(served, b""))[0] == 400
        assert (await _upload(served, bytes(50_000_001)))[0] == 413


@pytest.mark.requirement("server_sessions:hostile-prompts")
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"text": "hi", "workspace": "/etc"}, 400),
        ({"text": "hi", "deliver": ["file:/etc/cron.d"]}, 422),
        ({"text": "hi", "deliver": ["hook:delivery"]}, 422),
        ({"text": "hi", "deliver": ["webhook:file:///etc/passwd"]}, 422),
        ({"text": "hi", "deliver": ["webhook:http://127.0.0.1:1/"]}, 422),
        ({"text": "hi", "deliver": ["nowhere"]}, 422),
        ({"text": "hi", "agent": "root"}, 422),
        ({"text": "hi", "mode": "yolo"}, 400),
        ({"text": "hi", "limits": {"steps": -1}}, 400),
        ({"text": "hi", "limits": {"stepz": 1}}, 400),
        ({"text": "  "}, 400),
        ({"text": "x", "parts": [{"type": "text", "text": "y"}]}, 400),
        ({"parts": [{"type": "image", "media_type": "image/png", "data": "AAAA"}, {"type": "exec"}]}, 400),
        ({"text": "hi", "key": "k" * 257}, 400),
    ],
)
async def test_what_a_client_may_not_say_is_refused_and_nothing_is_begun(body: Any, status: int) -> None:
    async with house([Turn(text="hi")]) as (s, served):
        await post(served, "/sessions", {"name": "s"})
        found, problem = await post(served, "/sessions/s/prompts", body)
        assert (found, bool(problem["code"])) == (status, True), problem
        assert await s.log() == []
        for name in ("../etc", "a/b", ".hidden", "a" * 129, ""):
            assert (await post(served, "/sessions", {"name": name}))[0] == 400


@pytest.mark.requirement("server_sessions:limits-within")
@given(
    wanted=st.builds(Bounded, steps=st.none() | st.integers(0, 500), tokens=st.none() | st.integers(0, 10**6)),
    steps=st.none() | st.integers(0, 500),
    tokens=st.none() | st.integers(0, 10**6),
)
def test_limits_of_a_client_never_widen_those_of_the_agent(
    wanted: Bounded, steps: int | None, tokens: int | None
) -> None:
    own = Limits(steps=steps, tokens=tokens)
    found = prompting.limits_within(wanted, own)
    assert found is not None
    for name in ("steps", "tokens"):
        bound, given_ = getattr(own, name), getattr(wanted, name)
        least = min((each for each in (bound, given_) if each is not None), default=None)
        assert getattr(found, name) == least


@pytest.mark.requirement("server_sessions:agents")
async def test_agents_and_their_tools_are_listed_as_far_as_they_may_be_asked() -> None:
    async with house([Turn(text="hi")], plain=PLAIN, editor=EDITOR) as (_, served):
        assert [each["name"] for each in (await get(served, "/agents"))[1]["agents"]] == ["editor", "plain"]
        some = {"x-who": "local/ann/pl*"}
        assert [each["name"] for each in (await get(served, "/agents", headers=some))[1]["agents"]] == ["plain"]
        assert (await get(served, "/agents/editor", headers=some))[0] == 404
        assert (await get(served, "/tools", headers=some))[1] == {"tools": []}
        tools = {each["name"]: each for each in (await get(served, "/tools"))[1]["tools"]}
        assert tools["write"]["workspace"] and tools["write"]["agents"] == ["editor"]
        status, problem = await post(
            served, "/sessions", {"name": "e", "prompt": {"text": "x", "agent": "editor"}}, headers=some
        )
        assert (status, problem["code"]) == (403, "agent_denied")
        status, problem = await post(served, "/sessions", {"prompt": {"text": "x"}})
        assert (status, problem["code"]) == (422, "unknown_agent")
        await asked(served, "hi", agent="editor")
        await drain(served, "s")
        for way in ("steer", "follow-up"):
            status, problem = await post(served, f"/sessions/s/{way}", {"text": "more"}, headers=some)
            assert (status, problem["code"]) == (403, "agent_denied")
        _, known = await get(served, "/catalogue?provider=openai")
        assert any(each["price"] and each["context_window"] for each in known["models"])
        assert "openai" in (await get(served, "/catalogue"))[1]["providers"]


@pytest.mark.requirement("server_sessions:places")
async def test_sessions_work_in_folders_of_their_own_or_where_the_server_says(tmp_path: Path) -> None:
    async with house(_edits, editor=EDITOR) as (s, served):
        await asked(served, "own")
        await drain(served, "s")
        assert (await s.runtime.home("s") / "a.txt").read_text() == "own\n"
        folder = tmp_path / "ann"
        folder.mkdir()
        served.service.parts[Places] = Places(lambda who, session: folder if who.user == "ann" else None)
        await asked(served, "theirs", name="t")
        await drain(served, "t")
        assert (folder / "a.txt").read_text() == "theirs\n"
        assert str(tmp_path) not in json.dumps((await get(served, "/sessions/t"))[1])


@pytest.mark.requirement("server_sessions:nothing-unforeseen")
async def test_words_to_a_session_in_which_nothing_was_asked_begin_nothing() -> None:
    async with house([Turn(text="hi")]) as (_, served):
        await post(served, "/sessions", {"name": "s"})
        status, problem = await post(served, "/sessions/s/steer", {"text": "left"})
        assert (status, problem["code"]) == (409, "no_run_yet")
        status, problem = await post(served, "/sessions/s/proceed")
        assert status in (400, 409)
        assert (await get(served, "/sessions/s/runs/none"))[0] == 404
        assert (await get(served, "/sessions/s/export"))[0] == 409
        assert (await get(served, "/sessions/s/diff"))[1] == {"changes": [], "text": ""}
        assert (await drain(served, "s"))[-1].data["reason"] == "idle"
        status, problem = await get(served, "/sessions/s/events", headers={"last-event-id": "-1"})
        assert (status, problem["code"]) == (400, "bad_event_id")
