"""What an exchange does with its connection: when it is used again, given up, or left alone."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp.connector import Connection
from tests.loopback import Request, Server, answer, serving
from yarl import URL

from holdfast.errors import ConnectionBroken, NetTimeout, RequestRefused
from holdfast.net.client import HttpClient
from holdfast.net.pooling import Pool
from holdfast.net.settings import NetSettings
from holdfast.safety.addresses import TRUSTED

Writer = asyncio.StreamWriter


@pytest.mark.requirement("net:stale-connections")
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_what_may_be_repeated_is_sent_again_when_a_kept_connection_proves_closed(method: str) -> None:
    async with serving(hang_up_on_the_second) as server, HttpClient(TRUSTED) as client, asyncio.timeout(5):
        for _ in range(2):
            async with client.request(method, server.url) as got:
                assert await got.body() == b"ok"
    assert len(server.requests) == 3, "the second was asked twice"


@pytest.mark.requirement("net:stale-connections")
async def test_a_post_is_never_sent_twice() -> None:
    async with serving(hang_up_on_the_second) as server, HttpClient(TRUSTED) as client, asyncio.timeout(5):
        async with client.post(server.url, b"{}") as got:
            assert await got.body() == b"ok"
        second = client.post(server.url, b"{}")
        with pytest.raises(ConnectionBroken):
            await second.__aenter__()
    assert len(server.requests) == 2


@pytest.mark.requirement("net:stale-connections")
async def test_a_get_whose_connection_is_refused_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def counted(pool: Pool, url: URL) -> Connection:
        tried.append(str(url))
        return await connect(pool, url)

    tried, connect = list[str](), Pool.connect
    monkeypatch.setattr(Pool, "connect", counted)
    with socket.socket() as nobody:  # bound, so that it is nobody else's, and not listening
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        async with HttpClient(TRUSTED) as client, asyncio.timeout(5):
            with pytest.raises(ConnectionBroken):
                await client.get(url).__aenter__()
    assert tried == [url]


async def hang_up_on_the_second(request: Request, writer: Writer, server: Server) -> None:
    if len(server.requests) == 2:
        writer.close()
    else:
        writer.write(answer(b"ok"))


@pytest.mark.requirement("net:no-leaked-connection")
async def test_an_answer_that_came_before_the_request_was_out_ends_its_connection() -> None:
    async def impatient(reader: asyncio.StreamReader, writer: Writer) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b"too large", "413 Content Too Large"))
        await writer.drain()
        await done.wait()
        writer.close()

    connections, done = 0, asyncio.Event()
    server = await asyncio.start_server(impatient, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, HttpClient(TRUSTED) as client, asyncio.timeout(5):
        for n in (1, 2):
            async with client.post(f"http://127.0.0.1:{port}/", b"x" * 32 * 1024 * 1024) as got:
                assert (got.status, await got.body()) == (413, b"too large")
            assert connections == n, "half a request must not stand before the next one"
        done.set()


@pytest.mark.requirement("net:no-smuggled-header")
@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "Upgrade", "Expect", "bad name"])
async def test_headers_that_frame_the_body_are_not_the_callers_and_nothing_is_sent(name: str) -> None:
    async with serving() as server, HttpClient(TRUSTED) as client:
        refused = client.post(server.url, b"{}", {name: "7"})
        with pytest.raises(RequestRefused, match="headers"):
            await refused.__aenter__()
    assert server.requests == []


async def test_informational_answers_are_passed_over() -> None:
    async def early(request: Request, writer: Writer, server: Server) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3 + answer(b"ok"))

    async with serving(early) as server, HttpClient(TRUSTED) as client, asyncio.timeout(5):
        for _ in range(2):
            async with client.get(server.url) as got:
                assert (got.status, await got.body()) == (200, b"ok")
    assert server.connections == 1


@pytest.mark.requirement("net:connection-limit")
async def test_whoever_waits_for_a_connection_has_it_before_those_who_had_one() -> None:
    async def plain(request: Request, writer: Writer, server: Server) -> None:
        writer.write(answer(b"ok"))

    async def ask_often(name: str) -> None:
        for _ in range(10):
            async with client.get(server.url) as got:
                await got.body()
            asked.append(name)

    asked: list[str] = []
    async with serving(plain) as server, HttpClient(TRUSTED, NetSettings(connections=2)) as client, asyncio.timeout(5):
        await asyncio.gather(*map(ask_often, "abcde"))
    for done in range(0, 50, 5):
        assert sorted(asked[done : done + 5]) == list("abcde"), "they take turns"
    assert server.connections == 2


@pytest.mark.requirement("net:connection-limit")
@pytest.mark.parametrize("given", [False, True])
async def test_a_place_is_not_lost_with_those_who_wait_for_it_no_longer(*, given: bool) -> None:
    async def plain(request: Request, writer: Writer, server: Server) -> None:
        writer.write(answer(b"ok"))

    async def ask() -> bytes:
        async with client.get(server.url) as got:
            return await got.body()

    async with serving(plain) as server, HttpClient(TRUSTED, NetSettings(connections=1)) as client, asyncio.timeout(5):
        async with client.get(server.url) as got:
            waiting = [asyncio.create_task(ask()) for _ in range(6)]
            await asyncio.sleep(0)
            assert await got.body() == b"ok"
            if not given:
                for each in waiting[::2]:
                    each.cancel()
        if given:  # the first has the place by now, and has not gone on yet
            for each in waiting[::2]:
                each.cancel()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [each == b"ok" for each in ended] == [False, True] * 3
        assert await ask() == b"ok"
        assert client._pools is not None
        pool = client._pools.current()
        assert isinstance(pool, Pool)
        assert (pool._free, list(pool._waiting)) == (1, []), "all places are back"
    assert server.connections == 1


def look_often(client: HttpClient) -> None:
    """The pool's watch comes round many times."""
    assert client._pools is not None
    pool = client._pools.current()
    assert isinstance(pool, Pool)
    for _ in range(20):
        pool._look()


@pytest.mark.requirement("net:timeouts")
async def test_silence_counts_while_somebody_reads_and_not_while_nobody_does() -> None:
    proceed = asyncio.Event()

    async def slow(request: Request, writer: Writer, server: Server) -> None:
        writer.write(answer(b"one", length=9))
        await proceed.wait()
        writer.write(b"two")

    async with serving(slow) as server, HttpClient(TRUSTED) as client, asyncio.timeout(5):
        exchange = client.get(server.url)
        async with exchange as got:
            assert await anext(got) == b"one"
            look_often(client)  # whoever is slow here is not the other side
            proceed.set()
            assert await anext(got) == b"two"
            reading = asyncio.create_task(got.body())
            await asyncio.sleep(0)
            look_often(client)
            with pytest.raises(NetTimeout):
                await reading
        await server.left.wait()
