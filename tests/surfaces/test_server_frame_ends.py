"""How connections end, whoever ends them: what they held is let go of, and nothing that broke off looks whole."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import weakref
from collections.abc import AsyncGenerator

import pytest
from tests.listening import listening, until
from tests.surfaces.test_server_frame_listening import TRIAL, everybody_left, others_are_served

from holdfast.server.parts import Bounds
from holdfast.server.routing.route import Call, Route
from holdfast.server.streams.port import Stream


async def failing(call: Call[None, None, None]) -> Stream:
    """Says a word, and fails at the next."""

    async def pieces() -> AsyncGenerator[bytes]:
        yield b"data: hello\n\n"
        raise ValueError("a fault of ours")

    return Stream(pieces=pieces())


async def cut(call: Call[None, None, None]) -> Stream:
    """Says a word, and is cancelled by what it waits for."""

    async def pieces() -> AsyncGenerator[bytes]:
        yield b"data: hello\n\n"
        raise asyncio.CancelledError

    return Stream(pieces=pieces())


BREAKING = (
    *TRIAL,
    *(
        Route(method="GET", path=path, handle=handle, scope=None, tag="trial", counted=False)
        for path, handle in (("/failing", failing), ("/cut", cut))
    ),
)


@pytest.mark.requirement("server_load:connections-let-go")
@pytest.mark.parametrize("end", ["closed by the server", "kept open", "left", "reset", "refused", "failing", "cut"])
async def test_a_connection_that_is_over_is_gone_without_a_look_for_garbage(end: str) -> None:
    path = {"left": "/watch", "reset": "/watch", "failing": "/failing", "cut": "/cut"}.get(end, "/healthz")
    last = "Connection: close\r\n" if "by" in end else ""
    async with listening(BREAKING) as server:
        await others_are_served(server)
        await everybody_left(server)
        gc.collect()
        gc.disable()
        try:
            client = await server.connect()
            await until(lambda: len(server.listener.keeper.connections) == 1)
            (connection,) = map(weakref.ref, server.listener.keeper.connections)
            client.send("nonsense" if end == "refused" else f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{last}\r\n")
            await client.head()
            if end == "reset":
                own = client.writer.get_extra_info("socket")
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.writer.transport.abort()
            else:
                client.writer.close()
            await everybody_left(server)
            await until(lambda: connection() is None)
        finally:
            gc.enable()


@pytest.mark.requirement("server_frame:broken-streams")
@pytest.mark.parametrize("path", ["/failing", "/cut"])
async def test_a_stream_that_breaks_off_is_left_at_once_and_not_ended_as_if_it_were_whole(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(BREAKING, bounds=Bounds(heartbeat=0.05)) as server:
        client = await server.connect()
        client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await client.rest()
        assert "data: hello" in answer
        assert not answer.endswith("0\r\n\r\n")
        assert "healthz" not in answer and answer.count("HTTP/1.1") == 1
        await everybody_left(server)
        await others_are_served(server)
    assert ("a fault of ours" in caplog.text) == (path == "/failing")
