"""Streams of a session: nothing missed, nothing repeated, nobody held up, whoever comes, goes, or takes nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.running import MODEL, scene, soon, until
from tests.serving import serving
from tests.surfaces.listening import Heard, Listener, asked, drain, get, listening, post, said

from holdfast import Agent, Runtime
from holdfast.engine.events import CODEC
from holdfast.journal import watching
from holdfast.journal.tail import Tail
from holdfast.server.parts import Bounds
from holdfast.testing import ScriptedModelServer, ScriptRequest, Turn

PLAIN = {"plain": Agent(MODEL, name="plain")}


@pytest.mark.requirement("server_sessions:reconnect", "server:session-stream-resume")
async def test_whoever_comes_back_with_the_last_id_misses_and_repeats_no_event_wherever_it_was_cut() -> None:
    async with (
        scene([Turn(text="Hello there."), Turn(text="Again.")]) as s,
        serving(PLAIN, runtime=s.runtime) as served,
    ):
        await asked(served, "hi")
        await post(served, "/sessions/s/prompts", {"text": "more"})
        await drain(served, "s")
        whole = [event.seq for event in await s.log()]
        for cut in range(len(whole) + 1):
            first: list[int] = []
            async with listening(served, "s", until="forever") as listener:
                if cut:
                    async for each in listener:
                        if each.id is not None:
                            first.append(each.id)
                            if len(first) == cut:
                                break
            rest = [each.id for each in await drain(served, "s", last=first[-1] if first else 0) if each.id is not None]
            assert first + rest == whole


@pytest.mark.requirement("server_sessions:reconnect-live", "server:session-stream-resume")
@given(cuts=st.lists(st.integers(1, 12), min_size=1, max_size=6), chunk=st.integers(1, 9))
@settings(max_examples=12, deadline=None)
def test_cut_off_anywhere_in_a_live_run_a_reader_has_each_event_once_and_the_whole_answer(
    cuts: list[int], chunk: int
) -> None:
    asyncio.run(_cut_off_anywhere(cuts, chunk))


async def _cut_off_anywhere(cuts: list[int], chunk: int) -> None:
    text = "a quick brown fox jumps over the lazy dog"
    script = [Turn(text=text, chunk=chunk), Turn(text=text[::-1], chunk=chunk)]
    async with scene(script) as s, serving(PLAIN, runtime=s.runtime) as served:
        await asked(served, "hi")
        await post(served, "/sessions/s/prompts", {"text": "more"})
        heard: list[Heard] = []
        for cut in cuts:
            last = max((each.id for each in heard if each.id), default=0)
            async with listening(served, "s", last=last) as listener:
                left = cut
                async for each in listener:
                    heard.append(each)
                    left -= 1
                    if not left:
                        break
        last = max((each.id for each in heard if each.id), default=0)
        heard += await drain(served, "s", last=last)
        assert [each.id for each in heard if each.id] == [event.seq for event in await s.log()]
        _check_text(heard)


def _check_text(heard: list[Heard]) -> None:
    """Sees that the text since the last reset is the answer, or nothing of it: never a part, never twice."""
    text = ""
    for each in heard:
        if each.event == "reset":
            text = ""
        elif each.event == "text.delta":
            text += each.data["text"]
        elif each.event == "model.finished":
            answer = each.data["data"]["message"]["parts"][0]["text"]
            assert text in ("", answer)
            text = ""


class Talking:
    """A model that says one piece whenever it is told to, and is never done before that."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, request: ScriptRequest) -> Turn:
        self.asked.set()
        await self.go.wait()
        return Turn(text="x" * 2000, chunk=1)


@pytest.mark.requirement("server_sessions:slow-reader", "server:slow-client-explicit")
async def test_a_reader_that_takes_nothing_is_cut_off_and_holds_up_nobody() -> None:
    model = Talking()
    bounds = Bounds(heartbeat=0.2, stall=0.3)
    async with scene(model) as s, serving(PLAIN, runtime=s.runtime, bounds=bounds) as served:
        await asked(served, "hi")
        await soon(model.asked.wait())
        lazy = deaf(served.url, "/v1/sessions/s/events")
        await until(lambda: streams(served) == 1)
        model.go.set()
        async with listening(served, "s") as listener:
            heard = [each async for each in listener]
        assert heard[-1].data["reason"] == "idle" and _whole(heard)
        # So much is said that what its connection holds is full: then it is let go of.
        big = "y" * 3_000_000
        for _ in range(3):
            await post(served, "/sessions/s/prompts", {"text": big})
        await drain(served, "s", after=heard[-2].id)
        await until(lambda: streams(served) == 0, "a reader that takes nothing is still there")
        lazy.close()


def live_tail(runtime: Runtime) -> Tail:
    tail = runtime._worker.tail(next(iter(runtime._worker._live)))
    assert tail is not None
    return tail


def deaf(url: str, path: str, *, room: int = 4096) -> socket.socket:
    """Returns the connection of a client that asks and never reads."""
    host, port = url.removeprefix("http://").split(":")
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    lazy.connect((host, int(port)))
    lazy.send(f"GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\naccept: text/event-stream\r\n\r\n".encode())
    return lazy


def streams(served: object) -> int:
    from holdfast.server.streams.sending import Pulse

    pulse = served.service.parts.get(Pulse)  # type: ignore[attr-defined]
    return 0 if pulse is None else len(pulse._watched)


def _whole(heard: list[Heard]) -> bool:
    return said([each for each in heard if each.event != "model.finished"]) in ("x" * 2000, "")


@pytest.mark.requirement("server_sessions:lagged", "server:slow-client-explicit")
async def test_a_reader_that_falls_behind_the_live_tail_is_told_and_misses_no_event() -> None:
    model = Talking()
    async with scene(model) as s, serving(PLAIN, runtime=s.runtime) as served:
        await asked(served, "hi")
        await soon(model.asked.wait())
        async with listening(served, "s") as listener:
            aside = aiter(listener)
            first = [await anext(aside)]
            while first[-1].event != "model.started" and first[-1].event != "run.started":
                first.append(await anext(aside))
            tail = live_tail(s.runtime)
            await until(lambda: len(tail.broadcast) == 1)
            tail.broadcast.limit = 0  # as if it had come for nothing for a very long time
            model.go.set()
            rest = [each async for each in aside]
        heard = first + rest
        assert "lagged" in [each.event for each in heard]
        assert heard[[each.event for each in heard].index("lagged") + 1].event == "reset"
        assert [each.id for each in heard if each.id] == [event.seq for event in await s.log()]


@pytest.mark.requirement("server_sessions:watch-alive", "server:watches", "server:heartbeat-and-resume")
async def test_a_silent_watch_shows_life_for_as_long_as_it_lasts_and_then_goes_on() -> None:
    bounds = Bounds(heartbeat=0.05)
    async with (
        scene([Turn(text="one"), Turn(text="two")]) as s,
        serving(PLAIN, runtime=s.runtime, bounds=bounds) as served,
    ):
        await asked(served, "hi")
        await drain(served, "s")
        last = (await s.log())[-1].seq
        async with listening(served, "s", until="forever", last=last) as listener:
            reading = aiter(listener)
            assert (await anext(reading)).event == "reset"
            coming = asyncio.ensure_future(anext(reading))
            await until(lambda: listener.comments >= 20)  # twenty heartbeats long nothing happens
            assert not coming.done()
            await post(served, "/sessions/s/prompts", {"text": "more"})
            assert (await soon(coming)).id == last + 1


@pytest.mark.requirement("server_sessions:bounded-streams")
async def test_nobody_has_more_streams_at_once_than_there_may_be_and_a_place_is_free_again_when_one_ends() -> None:
    bounds = Bounds(streams_each=2)
    async with scene([Turn(text="one")]) as s, serving(PLAIN, runtime=s.runtime, bounds=bounds) as served:
        await asked(served, "hi")
        await drain(served, "s")
        async with (
            listening(served, "s", until="forever"),
            served.client.ws_connect("/v1/sessions/s/stream") as ws,
        ):
            await ws.receive()
            status, problem = await get(served, "/sessions/s/events", headers={"accept": "text/event-stream"})
            assert (status, problem["code"]) == (429, "too_many_streams")
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await served.client.ws_connect("/v1/sessions/s/stream")
            assert refused.value.status == 429
        for _ in range(5):
            await until(lambda: streams(served) == 0)
            assert (await drain(served, "s"))[-1].data["reason"] == "idle"


@pytest.mark.requirement("server_sessions:idle-cheap")
async def test_many_idle_watches_share_one_place_and_cost_no_reads() -> None:
    reads: list[str] = []

    class Counted:
        def __init__(self, inner: object) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> object:
            if name in ("read", "head"):
                reads.append(name)
            return getattr(self.inner, name)

    async with (
        scene([Turn(text="one"), Turn(text="two")], wrap=Counted) as s,
        serving(PLAIN, runtime=s.runtime) as served,
    ):
        await asked(served, "hi")
        await drain(served, "s")
        await until(lambda: not s.runtime._worker._live)
        watches = [asyncio.create_task(drain(served, "s", until="forever")) for _ in range(90)]
        try:
            await until(lambda: _places(s.runtime.journal) == 90)
            await until(lambda: _waiting(s.runtime.journal) == 90)
            reads.clear()
            await until(lambda: reads.count("head") >= 3)  # three looks at all that is watched
            assert len(reads) <= 10, "idle watches read"
            reads.clear()
            await post(served, "/sessions/s/exit")
            await until(lambda: _waiting(s.runtime.journal) == 90)
        finally:
            for each in watches:
                each.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
    assert not watching._all


def _places(journal: object) -> int:
    found = watching._all.get(journal)  # type: ignore[call-overload]
    return 0 if found is None else sum(each.places for each in found._streams.values())


def _waiting(journal: object) -> int:
    found = watching._all.get(journal)  # type: ignore[call-overload]
    return 0 if found is None else sum(len(each._waiting) for each in found._streams.values())


@pytest.mark.requirement("server_sessions:deleted-ends")
async def test_a_watch_of_a_session_that_is_deleted_ends_and_says_so() -> None:
    async with scene([Turn(text="one")]) as s, serving(PLAIN, runtime=s.runtime) as served:
        await asked(served, "hi")
        await drain(served, "s")
        async with listening(served, "s", until="forever") as listener:
            reading = aiter(listener)
            assert (await anext(reading)).event == "reset"
            async with served.client.delete("/v1/sessions/s") as answer:
                assert answer.status == 204
            assert [each async for each in reading][-1].data["reason"] == "deleted"
        assert (await get(served, "/sessions/s"))[0] == 404


@pytest.mark.requirement("server_sessions:closing")
async def test_streams_end_with_a_word_when_the_server_is_stopped() -> None:
    async with scene([Turn(text="one")]) as s, serving(PLAIN, runtime=s.runtime) as served:
        await asked(served, "hi")
        await drain(served, "s")
        async with (
            listening(served, "s", until="forever") as listener,
            served.client.ws_connect("/v1/sessions/s/stream") as ws,
        ):
            reading = aiter(listener)
            await anext(reading)
            served.service.closing.set()
            assert [each async for each in reading][-1].data["reason"] == "closing"
            told = [json.loads(message.data) async for message in ws]
            assert told[-1] == {"type": "end", "reason": "closing"} and ws.close_code == 1001


@pytest.mark.requirement("server_sessions:socket")
async def test_a_socket_is_for_who_may_and_for_pages_of_this_server_only() -> None:
    async with scene([Turn(text="one")]) as s, serving(PLAIN, runtime=s.runtime) as served:
        await asked(served, "hi")
        for path, headers, status in (
            ("/v1/sessions/s/stream", {"origin": "http://evil.example"}, 403),
            ("/v1/sessions/s/stream", {"origin": "null"}, 403),
            ("/v1/sessions/nobody/stream", {}, 404),
            ("/v1/sessions/s/stream?after=x", {}, 400),
        ):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await served.client.ws_connect(path, headers=headers)
            assert refused.value.status == status
        async with served.client.ws_connect("/v1/sessions/s/stream?until=idle", origin=served.url) as ws:
            await ws.send_str("whatever")
            told = [json.loads(message.data) async for message in ws]
        assert [each["seq"] for each in told if "seq" in each] == [event.seq for event in await s.log()]


SERVER = """
import asyncio, socket, sys
import uvicorn
from holdfast import Agent, Runtime
from holdfast.flow.clock import SystemClock
from holdfast.server.access.local import LocalAccess
from holdfast.server.app import make_app
from holdfast.server.parts import Service

async def main(url):
    async with Runtime.open(url) as runtime:
        agents = {"plain": Agent("openai/scripted", name="plain")}
        service = Service(runtime=runtime, agents=agents, access=LocalAccess(), clock=SystemClock())
        await runtime.sweep(everyone=True)
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        print(listener.getsockname()[1], flush=True)
        server = uvicorn.Server(uvicorn.Config(make_app(service), log_level="warning", lifespan="off"))
        await server._serve([listener])

asyncio.run(main(sys.argv[1]))
"""


async def _server(url: str, model: ScriptedModelServer) -> tuple[asyncio.subprocess.Process, str]:
    environment = {**os.environ, "OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": ""}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVER, url), stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert child.stdout is not None
    port = int(await soon(child.stdout.readline(), 30))
    return child, f"http://127.0.0.1:{port}"


@pytest.mark.requirement("server_sessions:killed", "server_sessions:fence")
async def test_killed_in_the_middle_and_started_again_the_run_ends_and_a_reader_misses_and_repeats_nothing(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    model = Talking()
    async with asyncio.timeout(60), ScriptedModelServer(model) as scripted:
        first, address = await _server(url, scripted)
        heard: list[Heard] = []
        async with aiohttp.ClientSession(address) as client:
            body = {"name": "s", "prompt": {"text": "hi", "key": "k"}}
            async with client.post("/v1/sessions", json=body) as answer:
                assert answer.status == 201
            await soon(model.asked.wait())
            async with client.get("/v1/sessions/s/events") as answer:
                listener = Listener(answer)
                with suppress(aiohttp.ClientError):
                    async for each in listener:
                        heard.append(each)
                        if each.event == "run.started":
                            first.send_signal(signal.SIGKILL)
                            await first.wait()
        second, address = await _server(url, scripted)
        model.go.set()
        try:
            async with aiohttp.ClientSession(address) as client:
                async with client.post("/v1/sessions/s/prompts", json={"text": "hi", "key": "k"}) as answer:
                    assert (answer.status, (await answer.json())["status"]) == (200, "duplicate")
                last = max(each.id for each in heard if each.id)
                headers = {"last-event-id": str(last)}
                async with client.get("/v1/sessions/s/events?until=idle", headers=headers) as answer:
                    heard += [each async for each in Listener(answer)]
                async with client.get("/v1/sessions/s/runs/k") as answer:
                    assert (await answer.json())["status"] == "completed"
                async with client.get("/v1/sessions/s/events", headers={"accept": "application/json"}) as answer:
                    log = (await answer.json())["events"]
        finally:
            second.terminate()
            await second.wait()
    assert [each.id for each in heard if each.id] == [each["seq"] for each in log] == list(range(1, len(log) + 1))
    assert [each["type"] for each in log].count("run.started") == 1
    assert len({each["epoch"] for each in log}) == 2, "the second process wrote under an epoch of its own"
    assert CODEC.knows("run.started")
