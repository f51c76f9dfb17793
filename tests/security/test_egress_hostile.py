"""Clients and servers that mean harm: what they hold is bounded, what they do ends, and nothing of it is left."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import pytest
from tests.egressing import (
    API,
    READ,
    READ_PLAIN,
    SECURE,
    Upstream,
    allowing,
    answer,
    denial,
    egress,
    raw_echo,
    read_head,
    settles,
    status,
)

from holdfast.sandbox.egress.settings import ProxySettings

QUICK = ProxySettings(head_seconds=0.2, idle_seconds=0.3)
GOOD = b"GET http://api.example.com/public/a HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
FLOOD = 64 * 1024 * 1024


async def silent(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def flood_head(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"x" * 1000 + b"\r\n")
        await writer.drain()


async def flood_interim(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)
        await writer.drain()


async def flood_body(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % FLOOD)
    for _ in range(FLOOD // 65536):
        writer.write(bytes(65536))
        await writer.drain()
        upstream.seen.append(b"")


@pytest.mark.requirement("sandbox:egress-bounds")
async def test_two_hundred_clients_at_once_are_all_served(tmp_path: Path) -> None:
    tls = Upstream(host="api.example.com", port=443)
    async with egress(tmp_path, allowing(API, SECURE), Upstream(), tls) as world:

        async def one(number: int) -> int:
            if number % 4:
                return status(await world.get(f"http://api.example.com/{number}"))
            async with world.tunnel("api.example.com:443", host="api.example.com") as (reader, writer):
                writer.write(b"GET /%d HTTP/1.1\r\nHost: api.example.com\r\n\r\n" % number)
                return status(await answer(reader))

        assert await asyncio.gather(*(one(number) for number in range(200))) == [200] * 200


@pytest.mark.requirement("sandbox:egress-bounds")
async def test_a_client_beyond_the_bound_is_told_to_come_back_and_the_others_stay(tmp_path: Path) -> None:
    async with egress(tmp_path, allowing(API), Upstream(), settings=ProxySettings(connections=2)) as world:
        async with world.client() as first, world.client():
            await settles(lambda: len(world.proxy._open) == 2)
            refused = await world.ask(b"")
            assert (status(refused), denial(refused)["error"]) == (503, "too_many_connections")
            first[1].write(GOOD)
            assert status(await answer(first[0])) == 200
        await settles(lambda: not world.proxy._open)
        assert status(await world.ask(GOOD)) == 200


@pytest.mark.requirement("sandbox:egress-bounds")
@pytest.mark.parametrize("sent", [b"", b"G", GOOD[:-2], b"CONNECT api.example.com:80 HTTP/1.1\r\nX: "])
async def test_a_client_that_never_ends_its_head_is_let_go(tmp_path: Path, sent: bytes) -> None:
    async with egress(tmp_path, allowing(API), Upstream(), settings=QUICK) as world:
        assert status(await world.ask(sent)) == (408 if sent else 0)


@pytest.mark.requirement("sandbox:egress-bounds")
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET http://api.example.com/ HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"CONNECT " + b"a" * 9000, 431),
        (b"GET http://api.example.com/ HTTP/1.1\r\n" + b"X: y\r\n" * 150 + b"\r\n", 400),
        (b"GET http://api.example.com/ HTTP/1.1\nHost: api.example.com\n\n", 400),
        (b"\r\n" + GOOD, 400),
        (b"\x16\x03\x01\x02\x00" * 3 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n", 400),
        (b"GET https://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n", 400),
        (b"get http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n", 400),
        (b"GET  http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"CONNECT api.example.com HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT api.example.com:0 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT api.example.com:65536 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT api.example.com:+80 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT api.example.com:080 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT api.example.com:80/ HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT api.example.com:80 HTTP/1.1\r\nHost: other.example.com:80\r\n\r\n", 400),
        (b"CONNECT api.example.com:80 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 400),
        (b"CONNECT api.example.com:22 HTTP/1.1\r\n\r\n", 403),
        (b"TRACE http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n", 405),
    ],
)
async def test_what_is_no_plain_request_is_refused_without_a_look_up(tmp_path: Path, sent: bytes, code: int) -> None:
    async with egress(tmp_path, allowing(API), Upstream()) as world:
        assert status(await world.ask(sent, half=True)) == code
        assert (world.looked_up, world.log[-1].verdict) == ([], "denied")
        assert status(await world.ask(GOOD)) == 200


@pytest.mark.requirement("sandbox:egress-bounds")
async def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    async with egress(tmp_path, allowing(API), Upstream(silent), settings=QUICK) as world:
        assert status(await world.ask(GOOD)) == 504
        async with world.tunnel("api.example.com:80") as (reader, _):
            assert await reader.read() == b""


@pytest.mark.requirement("sandbox:egress-bounds")
@pytest.mark.parametrize("handler", [flood_head, flood_interim])
async def test_a_server_that_floods_before_it_answers_is_cut_off(tmp_path: Path, handler: object) -> None:
    async with egress(tmp_path, allowing(API), Upstream(handler)) as world:  # type: ignore[arg-type]
        assert status(await world.ask(GOOD)) == 502


@pytest.mark.requirement("sandbox:egress-bounds")
@pytest.mark.parametrize("tunnelled", [False, True])
async def test_a_flood_waits_for_a_client_that_does_not_read(tmp_path: Path, tunnelled: bool) -> None:
    upstream = Upstream(flood_body)
    async with egress(tmp_path, allowing(API), upstream) as world:
        reader, writer = await asyncio.open_unix_connection(str(world.path), limit=4096)
        if tunnelled:
            writer.write(b"CONNECT api.example.com:80 HTTP/1.1\r\n\r\n")
            await read_head(reader)
        writer.write(GOOD)
        await settles(lambda: bool(upstream.seen))
        sent = -1
        while len(upstream.seen) > sent:  # until nothing more of it moves
            sent = len(upstream.seen)
            await asyncio.sleep(0.1)
        assert sent * 65536 < FLOOD / 4
        writer.close()
        assert status(await world.get("http://other.example.com/")) == 403


@pytest.mark.requirement("sandbox:egress-strict-bodies")
@pytest.mark.parametrize(
    "body",
    [
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"5;x=y\r\nhello\r\n0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"-1\r\n",
        b"\r\n",
        b"ffffffffffffffffff\r\n",
    ],
)
async def test_chunks_that_are_none_never_reach_a_server_as_a_whole_request(tmp_path: Path, body: bytes) -> None:
    upstream = Upstream()
    async with egress(tmp_path, allowing(READ_PLAIN), upstream) as world:
        url, coding = "http://api.example.com/public/a", "Transfer-Encoding: chunked"
        assert status(await world.get(url, coding, method="POST", body=body)) == 400
        assert upstream.seen == []
        fine = await world.get(url, coding, method="POST", body=b"5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n")
        assert status(fine) == 200
        assert upstream.seen[0].endswith(b"5\r\nhello\r\n0\r\n\r\n")


ANSWERS = {
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok": 502,
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok": 502,
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok": 502,
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n": 502,
    b"SSH-2.0-server\r\n\r\n": 502,
    b"": 502,
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok": 200,
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok": 100,
}


@pytest.mark.requirement("sandbox:egress-strict-bodies")
@pytest.mark.parametrize("said", ANSWERS)
async def test_an_answer_that_can_be_read_in_two_ways_is_not_passed_on(tmp_path: Path, said: bytes) -> None:
    async def speak(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(said)
        await writer.drain()

    async with egress(tmp_path, allowing(API), Upstream(speak)) as world:
        assert status(await world.get("http://api.example.com/", "Connection: close")) == ANSWERS[said]


@pytest.mark.requirement("sandbox:egress-tunnels")
async def test_each_half_of_a_tunnel_ends_by_itself_and_bytes_arrive_as_they_were_sent(tmp_path: Path) -> None:
    sent = os.urandom(3_000_000)
    async with egress(tmp_path, allowing(API), Upstream(raw_echo)) as world:
        async with world.tunnel("api.example.com:80") as (reader, writer):

            async def send() -> None:
                writer.write(sent)
                await writer.drain()
                writer.write_eof()

            got, _ = await asyncio.gather(reader.read(), send())
        assert got == sent + b"<end>"


@pytest.mark.requirement("sandbox:egress-leaves-nothing")
@pytest.mark.parametrize("target", ["plain", "tunnel", "inspected", "head"])
async def test_closing_in_the_middle_of_anything_leaves_no_task_and_no_descriptor(tmp_path: Path, target: str) -> None:
    upstreams = Upstream(silent), Upstream(silent, host="api.example.com", port=443)
    async with egress(tmp_path, allowing(API, READ), *upstreams) as world:
        async with world.client() as (reader, writer):
            if target == "head":
                writer.write(GOOD[:20])
            elif target == "plain":
                writer.write(GOOD)
            else:
                writer.write(b"CONNECT api.example.com:%d HTTP/1.1\r\n\r\n" % (80 if target == "tunnel" else 443))
                assert await read_head(reader)
            await settles(lambda: len(world.proxy._open) == 1 and bool(world.log or target == "head"))
            await world.proxy.close()
            with suppress(ConnectionResetError):  # what it had sent lay there unread
                assert await reader.read() == b""
        assert not world.path.exists()
