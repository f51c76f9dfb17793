"""Deltas on their way to the sockets of those who wait for them: at once where a socket takes them, else in order."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from typing import Any

import pytest
from tests.running import scene, soon, until
from tests.serving import serving
from tests.surfaces.listening import Listener, asked, drain, listening
from tests.surfaces.test_server_sessions_streams import PLAIN, Talking, deaf, live_tail, streams

from holdfast.journal.tail import Tail
from holdfast.server.parts import Bounds
from holdfast.testing import ScriptRequest, Turn
from holdfast.types import TextDelta


@pytest.mark.requirement("server_load:deltas-at-once")
async def test_a_delta_is_in_the_socket_when_whoever_publishes_it_goes_on() -> None:
    model = Talking()
    async with scene(model) as s, serving(PLAIN, runtime=s.runtime) as served:
        await asked(served, "hi")
        await soon(model.asked.wait())
        client = deaf(served.url, "/v1/sessions/s/events")
        tail = live_tail(s.runtime)
        await until(lambda: len(tail.broadcast) == 1 and _waits(tail))
        client.setblocking(False)
        client.recv(100_000)
        tail.publish([TextDelta("on the spot")], tail.last)
        heard = client.recv(100_000)  # nothing was awaited
        assert b'event: text.delta\ndata: {"type":"text.delta","text":"on the spot"}' in heard
        tail.publish([TextDelta("half a \ud800 letter")], tail.last)  # cannot be sent, which is nothing to the run
        await until(lambda: streams(served) == 0)
        client.close()
        tail.reset("taken back", tail.last)
        model.go.set()
        assert (await drain(served, "s"))[-1].data["reason"] == "idle"
        assert (await s.runtime.view("s")).state == "idle"


async def test_a_model_that_says_nothing_again_and_again_does_not_silence_the_heartbeat() -> None:
    model = Talking()
    async with scene(model) as s, serving(PLAIN, runtime=s.runtime, bounds=Bounds(heartbeat=0.1)) as served:
        await asked(served, "hi")
        await soon(model.asked.wait())
        async with listening(served, "s") as listener:
            reading = asyncio.create_task(_heard(listener, "run.finished"))
            tail = live_tail(s.runtime)
            await until(lambda: tail.publish([], tail.last) or listener.comments > 2)
            model.go.set()
            await soon(reading)


async def _heard(listener: Listener, kind: str) -> None:
    async for each in listener:
        if each.event == kind:
            return


@pytest.mark.requirement("server_load:deltas-at-once")
async def test_what_a_full_socket_cannot_take_comes_when_it_can_in_order_and_whole() -> None:
    model = Counting(1200, 6000)
    async with scene(model, seconds=40) as s, serving(PLAIN, runtime=s.runtime) as served:
        await asked(served, "hi")
        await soon(model.asked.wait())
        client = deaf(served.url, "/v1/sessions/s/events?until=idle", room=100_000)
        await until(lambda: streams(served) == 1)
        model.go.set()
        with client:
            heard = await soon(asyncio.to_thread(_slowly, client))
    kinds = [(line, data) for line, data in _frames(heard) if line in ("text.delta", "model.finished")]
    assert kinds[-1][0] == "model.finished"
    told = kinds[-1][1]["data"]["message"]["parts"][0]["text"]
    assert "".join(data["text"] for _, data in kinds[:-1]) == told == model.text


class Counting(Talking):
    """One that says numbers, each so many letters long."""

    def __init__(self, count: int, letters: int) -> None:
        super().__init__()
        self._letters = letters
        self.text = "".join(f"{number:>{letters}}" for number in range(count))

    async def __call__(self, request: ScriptRequest) -> Turn:
        self.asked.set()
        await self.go.wait()
        return Turn(text=self.text, chunk=self._letters)


def _slowly(client: socket.socket) -> bytes:
    """Returns all that a client reads that begins when its socket has been full for a while."""
    client.settimeout(10)
    held = bytearray()
    threading.Event().wait(0.3)  # so that the server meets a socket that is full
    while not held.endswith(b"\r\n0\r\n\r\n"):
        held += client.recv(100_000)
    return bytes(held)


def _frames(held: bytes) -> list[tuple[str, Any]]:
    """Returns the frames of a chunked answer: their events, and their data."""
    _, _, rest = held.partition(b"\r\n\r\n")
    body = b""
    while (size := int(rest[: (line := rest.index(b"\r\n"))], 16)) > 0:
        body += rest[line + 2 : line + 2 + size]
        rest = rest[line + 4 + size :]
    found = []
    for frame in body.split(b"\n\n"):
        named = dict(each.split(b": ", 1) for each in frame.split(b"\n") if b": " in each)
        if b"data" in named:
            found.append((named[b"event"].decode(), json.loads(named[b"data"])))
    return found


def _waits(tail: Tail) -> bool:
    """Whether its reader has taken all, and waits for more."""
    waiter = tail.broadcast._readers[0]._waiter
    return waiter is not None and not waiter.done()
