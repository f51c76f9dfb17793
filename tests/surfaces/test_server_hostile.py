"""Everything that clients should not do, done at once, by many: meanwhile others are served, and memory stays."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from bench.load.pacing import Pace, Telling
from tests.listening import BOUND, Client, Listening, listening, until

from holdfast import Agent
from holdfast.models.port import ModelRequest
from holdfast.models.providers import finding
from holdfast.server.listening.caps import Caps
from holdfast.server.parts import Bounds
from holdfast.types import AssistantMessage, Delta, Text, TextDelta

LATE = 10.0
"""Seconds that somebody well-behaved waits at most, on a machine that is busy with other things as well."""
GROWN = 150
"""MiB that the process may grow by meanwhile, tests included: without bounds it would be some hundred more."""
LOUD = 20_000
"""Letters of each delta, of which there are 200 in a second: more than a socket that nobody reads holds for long."""
BRIEF = Caps(head_seconds=1, body_seconds=1, body_rate=1_000, stall_seconds=1, dead_after=4, looks=0.05)
_REPAIR = 19
"""TCP_REPAIR: a socket in it is closed without a word to the other side."""


class Shouting(Telling):
    """Goes on for as long as anybody asks it to."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[list[Delta] | AssistantMessage, None]:
        """Says the same again and again."""
        word = "x" * LOUD
        for _ in range(self._deltas):
            await self._pace.turn()
            yield [TextDelta(word)]
        yield AssistantMessage((Text("That was all."),), self.name)


class Behaving:
    """A client that does nothing wrong: it follows a session, and asks for something now and then."""

    def __init__(self, server: Listening) -> None:
        self._server = server
        self.waited = self.silent = 0.0
        """The longest, in seconds."""
        self.asked = self.heard = 0

    async def ask(self) -> None:
        """Asks again and again."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            assert await self._server.get() == 200
            self.waited, self.asked = max(self.waited, loop.time() - began), self.asked + 1
            await asyncio.sleep(0.01)

    async def follow(self) -> None:
        """Reads a stream as it comes."""
        loop, client = asyncio.get_running_loop(), await self._server.connect()
        client.send("GET /v1/sessions/loud/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert "200 OK" in await client.head()
        last = loop.time()
        while True:
            self.heard += (await client.reader.read(1 << 20)).count(b"x" * 1000)
            self.silent, last = max(self.silent, loop.time() - last), loop.time()


@asynccontextmanager
async def beside(server: Listening) -> AsyncGenerator[Behaving]:
    """Has somebody well-behaved be there for as long as the block lasts, and sees that they were served."""
    behaving = Behaving(server)
    tasks = [asyncio.create_task(behaving.ask()), asyncio.create_task(behaving.follow())]
    try:
        await until(lambda: behaving.asked > 0 and behaving.heard > 0)
        yield behaving
        asked, heard = behaving.asked, behaving.heard
        await until(lambda: (behaving.asked > asked and behaving.heard > heard) or any(each.done() for each in tasks))
    finally:
        for each in tasks:
            each.cancel()
        for each in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(each, asyncio.CancelledError), each
    assert behaving.waited < LATE
    assert behaving.silent < LATE


@asynccontextmanager
async def talking(monkeypatch: pytest.MonkeyPatch, caps: Caps, bounds: Bounds) -> AsyncGenerator[Listening]:
    """Serves a session in which somebody talks without an end."""
    pace = Pace(200)
    monkeypatch.setitem(finding.PROVIDERS, "paced", Shouting.make(pace, 1_000_000))  # type: ignore[arg-type] - a dict
    pacing = asyncio.create_task(pace.run())
    async with listening(caps=caps, bounds=bounds) as server:
        run = await server.service.runtime.start(Agent("paced/time"), "Go on.", session="loud")
        yield server
        await run.abort()
        with contextlib.suppress(Exception):
            await run.result()
    pacing.cancel()


def resident() -> float:
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def request(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


async def reads_nothing(client: Client) -> None:
    """Asks for a stream that says much, and takes nothing of it."""
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.send(request("/v1/sessions/loud/events"))


async def drips(client: Client, begin: bytes, drop: bytes) -> None:
    """Says what never comes to an end."""
    client.send(begin)
    with contextlib.suppress(ConnectionError):
        while not client.writer.is_closing() and not client.reader.at_eof():
            client.send(drop)
            await asyncio.sleep(0.05)  # the attack, not a wait
    answer = await client.rest()
    assert not answer or " 408 " in answer.partition("\r\n")[0], answer


async def drips_a_head(client: Client) -> None:
    """A header that comes letter by letter."""
    await drips(client, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"a")


async def drips_a_body(client: Client) -> None:
    """A body that comes letter by letter."""
    begin = request("/v1/sessions", "Content-Type: application/json", "Content-Length: 100000", method="POST")
    await drips(client, begin, b" ")


async def has_a_large_head(client: Client) -> None:
    """A megabyte of headers."""
    client.send(request("/healthz", "X-A: " + "a" * 1_000_000))
    assert " 431 " in (await client.rest()).partition("\r\n")[0]


async def sends_a_bomb(client: Client) -> None:
    """A body that unpacks to a thousand times as much."""
    bomb = gzip.compress(b"\0" * 20_000_000)
    head = ("Content-Encoding: gzip", "Content-Type: application/json", f"Content-Length: {len(bomb)}")
    client.send(request("/v1/sessions/loud/prompts", *head, "Connection: close", method="POST") + bomb)
    assert " 415 " in (await client.rest()).partition("\r\n")[0]


Attack = Callable[[Client], Awaitable[None]]
ATTACKS: tuple[tuple[Attack, int], ...] = (
    (reads_nothing, 15),
    (drips_a_head, 60),
    (drips_a_body, 60),
    (has_a_large_head, 20),
    (sends_a_bomb, 20),
)


@pytest.mark.requirement("server_load:hostile")
async def test_others_are_served_while_all_attacks_go_on_at_once_and_all_are_shown_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bounds = Bounds(heartbeat=0.5, stall=1, grace=2)
    async with talking(monkeypatch, BRIEF, bounds) as server:
        before = resident()
        async with beside(server):
            attacks = [
                asyncio.create_task(_attack(attack, await server.connect()))
                for attack, many in ATTACKS
                for _ in range(many)
            ]
            await asyncio.gather(*attacks)
            # The one that follows is there, the one that asks may be; all others are gone, and so are their streams.
            await until(lambda: len(server.listener.keeper.connections) <= 2)
        assert resident() - before < GROWN


async def _attack(attack: Attack, client: Client) -> None:
    with contextlib.suppress(ConnectionError):
        await attack(client)


@pytest.mark.requirement("server_load:half-open")
async def test_streams_of_peers_that_vanished_without_a_word_end_in_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with talking(monkeypatch, BRIEF, Bounds(heartbeat=60, stall=2, grace=2)) as server, beside(server):
        for path in ("/v1/sessions/loud/events", "/v1/sessions/quiet/events"):
            if "quiet" in path:
                await server.service.runtime.create("quiet")
            for _ in range(5):
                _vanish(await asyncio.to_thread(_stream, server.port, path))
        await until(lambda: len(server.listener.keeper.connections) <= 2)


def _stream(port: int, path: str) -> socket.socket:
    found = socket.create_connection(("127.0.0.1", port), BOUND)
    found.sendall(request(path))
    assert found.recv(64).startswith(b"HTTP/1.1 200")
    return found


def _vanish(found: socket.socket) -> None:
    """Lets a connection be gone as if its machine were."""
    try:
        found.setsockopt(socket.IPPROTO_TCP, _REPAIR, 1)
    except OSError:
        pytest.skip("only those with rights over the network can close a connection without a word")
    found.close()


HOLDING = """
import resource, socket, sys
port, many = map(int, sys.argv[1:])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = []
for number in range(many):
    held.append(socket.socket())
    held[-1].bind((f"127.0.0.{2 + number % 16}", 0))
    held[-1].connect(("127.0.0.1", port))
    if number % 2:
        held[-1].send(b"GET /healthz HTTP/1.1\\r\\nHost: a\\r\\nX-")
print(len(held), flush=True)
sys.stdin.read()
"""


@pytest.mark.requirement("server_load:ten-thousand-connections")
async def test_ten_thousand_connections_of_one_client_keep_nobody_from_being_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caps = Caps(head_seconds=30, dead_after=10, looks=0.1)
    async with talking(monkeypatch, caps, Bounds(heartbeat=5, stall=5, grace=2)) as server:
        if server.listener.keeper.caps.connections < 10_100:
            pytest.skip("this system gives a process fewer files than that")
        before = resident()
        pipe = asyncio.subprocess.PIPE
        async with beside(server):
            command = (sys.executable, "-c", HOLDING, str(server.port), "10000")
            holding = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
            try:
                assert holding.stdout is not None
                async with asyncio.timeout(2 * BOUND):
                    assert await holding.stdout.readline() == b"10000\n"
                await until(lambda: len(server.listener.keeper.connections) >= 10_000)
                assert resident() - before < GROWN
            finally:
                holding.kill()
                await holding.wait()
            await until(lambda: len(server.listener.keeper.connections) <= 2)
