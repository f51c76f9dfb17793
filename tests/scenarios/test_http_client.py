"""The HTTP client against real servers on loopback that behave, misbehave, lie and fall silent."""

from __future__ import annotations

import asyncio
import gc
import gzip
import inspect
import socket
import ssl
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest
from aiohttp import client_exceptions
from tests.loopback import Request, Server, answer, serving

from holdfast.errors import (
    AnswerTooLarge,
    ConnectionBroken,
    HoldfastError,
    NetError,
    NetTimeout,
    ProtocolError,
    RequestRefused,
)
from holdfast.net.client import HttpClient
from holdfast.net.failures import CAUGHT, translated
from holdfast.net.settings import NetSettings
from holdfast.safety.addresses import TRUSTED

QUICK = NetSettings(connect_timeout=0.2, silence_timeout=0.2)
Writer = asyncio.StreamWriter


async def fetch(client: HttpClient, url: str, body: bytes = b"{}", headers: dict[str, str] | None = None) -> bytes:
    async with asyncio.timeout(5), client.post(url, body, headers) as got:
        return await got.body()


async def pause() -> None:
    await asyncio.Event().wait()


def own_tasks() -> set[str]:
    return {str(task.get_coro()) for task in asyncio.all_tasks() if "connected" not in str(task.get_coro())}


async def test_a_post_carries_body_and_headers_and_brings_status_headers_and_body() -> None:
    async def echo(request: Request, writer: Writer, server: Server) -> None:
        writer.write(answer(request.body, "201 Created", "X-Told: yes\r\n"))

    headers = {"x-api-key": "k", "Content-Type": "application/json"}
    async with serving(echo) as server, HttpClient(TRUSTED) as client:
        sent = client.post(server.url + "/v1?a=1", b"[1]", headers)
        async with sent as got:
            assert (got.status, got.headers["x-told"], await got.body()) == (201, "yes", b"[1]")
    (request,) = server.requests
    assert request.line == "POST /v1?a=1 HTTP/1.1"
    assert (request.headers["x-api-key"], request.headers["content-type"]) == ("k", "application/json")
    assert request.headers["user-agent"] == "holdfast"


@pytest.mark.requirement("net:keep-alive")
async def test_requests_one_after_another_share_a_connection() -> None:
    async with serving() as server, HttpClient(TRUSTED) as client:
        for _ in range(5):
            assert await fetch(client, server.url) == b"ok"
    assert server.connections == 1


@pytest.mark.parametrize("size", [64 * 1024 + 1, 3 * 1024 * 1024 + 1])
async def test_a_large_body_arrives_whole(size: int) -> None:
    async def count(request: Request, writer: Writer, server: Server) -> None:
        writer.write(answer(str(len(request.body)).encode()))

    async with serving(count) as server, HttpClient(TRUSTED) as client:
        assert await fetch(client, server.url, b"x" * size) == str(size).encode()
        assert server.requests[0].headers["content-length"] == str(size)


@pytest.mark.requirement("net:streams-as-it-comes")
async def test_what_comes_in_is_handed_out_at_once_not_at_the_end() -> None:
    proceed = asyncio.Event()

    async def slow(request: Request, writer: Writer, server: Server) -> None:
        writer.write(answer(b"one", length=6))
        await proceed.wait()
        writer.write(b"two")

    async with serving(slow) as server, HttpClient(TRUSTED) as client, asyncio.timeout(5):
        sent = client.get(server.url)
        async with sent as got:
            assert await anext(got) == b"one"
            proceed.set()
            assert [data async for data in got] == [b"two"]


@pytest.mark.requirement("net:no-leaked-connection")
async def test_leaving_an_answer_early_drops_its_connection() -> None:
    async def endless(request: Request, writer: Writer, server: Server) -> None:
        writer.write(answer(b"some", length=10_000))
        await writer.drain()

    async with serving(endless) as server, HttpClient(TRUSTED) as client, asyncio.timeout(5):
        before = own_tasks()
        async with client.post(server.url, b"{}") as got:
            assert await anext(got) == b"some"
        await server.left.wait()
        assert own_tasks() == before


@pytest.mark.requirement("net:no-leaked-connection")
@pytest.mark.parametrize("head", [b"", answer(b"some", length=10_000)])
async def test_a_cancelled_request_drops_its_connection(head: bytes) -> None:
    arrived = asyncio.Event()

    async def hang(request: Request, writer: Writer, server: Server) -> None:
        writer.write(head)
        arrived.set()

    async with serving(hang) as server, HttpClient(TRUSTED) as client, asyncio.timeout(5):
        task = asyncio.create_task(fetch(client, server.url))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.left.wait()


@pytest.mark.requirement("net:no-leaked-connection")
async def test_closing_the_client_ends_a_read_in_progress_and_a_later_request_works() -> None:
    async def half(request: Request, writer: Writer, server: Server) -> None:
        writer.write(answer(b"some", length=10_000 if len(server.requests) == 1 else 4))

    async with serving(half) as server, HttpClient(TRUSTED) as client, asyncio.timeout(5):
        async with client.post(server.url, b"{}") as got:
            assert await anext(got) == b"some"
            reading = asyncio.create_task(got.body())
            await asyncio.sleep(0)
            await client.close()
            with pytest.raises(NetError):
                await reading
        assert await fetch(client, server.url) == b"some"


@pytest.mark.requirement("net:many-loops")
def test_one_client_serves_many_loops_and_leaves_nothing_open() -> None:
    client = HttpClient(TRUSTED)

    async def once() -> int:
        async with serving() as server:
            assert await fetch(client, server.url) == b"ok"
            assert await fetch(client, server.url) == b"ok"
        return server.connections

    assert [asyncio.run(once()) for _ in range(3)] == [1, 1, 1]
    assert client._pools is not None and client._pools._open == {}
    gc.collect()


@pytest.mark.requirement("net:many-loops")
def test_one_client_serves_loops_in_several_threads_at_once() -> None:
    client = HttpClient(TRUSTED)

    async def once() -> int:
        async with serving() as server:
            for _ in range(20):
                assert await fetch(client, server.url) == b"ok"
        return server.connections

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: asyncio.run(once()), range(4))) == [1, 1, 1, 1]


async def test_a_client_that_is_dropped_without_closing_closes_itself() -> None:
    async with serving() as server, asyncio.timeout(5):
        client = HttpClient(TRUSTED)
        assert await fetch(client, server.url) == b"ok"
        del client
        gc.collect()
        await server.left.wait()


@pytest.mark.requirement("net:connection-limit")
async def test_many_requests_at_once_are_all_answered_within_the_connection_limit() -> None:
    async with serving() as server, HttpClient(TRUSTED, NetSettings(connections=3)) as client:
        assert await asyncio.gather(*(fetch(client, server.url) for _ in range(200))) == [b"ok"] * 200
    assert server.connections <= 3


@pytest.mark.requirement("net:broken-connection")
@pytest.mark.parametrize("length", [100, None])
async def test_a_connection_that_ends_in_the_middle_of_a_body_is_broken(length: int | None) -> None:
    async def cut(request: Request, writer: Writer, server: Server) -> None:
        if length:
            writer.write(answer(b"some", length=length))
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n")
        writer.close()

    async with serving(cut) as server, HttpClient(TRUSTED) as client:
        with pytest.raises(ConnectionBroken, match="broke"):
            await fetch(client, server.url)


@pytest.mark.requirement("net:broken-connection")
@pytest.mark.parametrize("head", [b"", answer(b"some", length=100)])
async def test_a_reset_before_or_in_the_middle_of_an_answer_is_a_broken_connection(head: bytes) -> None:
    async def reset(request: Request, writer: Writer, server: Server) -> None:
        writer.write(head)
        await writer.drain()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with serving(reset) as server, HttpClient(TRUSTED) as client:
        with pytest.raises(ConnectionBroken):
            await fetch(client, server.url)


@pytest.mark.requirement("net:broken-connection")
async def test_nobody_listening_is_a_broken_connection_that_names_the_origin() -> None:
    async with serving() as server:
        pass
    async with HttpClient(TRUSTED) as client:
        with pytest.raises(ConnectionBroken, match=f"'{server.url}'"):
            await fetch(client, server.url + "/v1?key=geheim")


@pytest.mark.requirement("net:timeouts", "net:no-leaked-connection")
@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n", answer(b"some", length=100)])
async def test_silence_before_and_in_the_middle_of_an_answer_is_a_timeout(head: bytes) -> None:
    async def silent(request: Request, writer: Writer, server: Server) -> None:
        writer.write(head)

    async with serving(silent) as server, HttpClient(TRUSTED, QUICK) as client:
        with pytest.raises(NetTimeout, match="allow it more time"):
            await fetch(client, server.url + "?key=geheim")
        async with asyncio.timeout(5):
            await server.left.wait()


@pytest.mark.requirement("net:timeouts")
@pytest.mark.parametrize("size", [8 * 1024 * 1024, 40 * 1024 * 1024])
async def test_a_server_that_never_takes_the_body_is_a_timeout(size: int) -> None:
    async with serving(reads=False) as server, HttpClient(TRUSTED, QUICK) as client:
        with pytest.raises(NetTimeout):
            await fetch(client, server.url, b"x" * size)


@pytest.mark.requirement("net:timeouts")
async def test_a_handshake_nobody_answers_is_a_timeout() -> None:
    async with serving(reads=False) as server, HttpClient(TRUSTED, QUICK) as client:
        with pytest.raises(NetTimeout):
            await fetch(client, server.url.replace("http:", "https:") + "/?key=geheim")


@pytest.mark.requirement("net:timeouts")
async def test_a_connection_nobody_accepts_is_a_timeout() -> None:
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for each in (first, second):  # they fill the queue; whoever comes next is not answered
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        async with HttpClient(TRUSTED, QUICK) as client:
            with pytest.raises(NetTimeout) as caught:
                await fetch(client, f"http://127.0.0.1:{listener.getsockname()[1]}/?key=geheim")
    assert "geheim" not in str(caught.value)


@pytest.mark.requirement("net:timeouts")
async def test_a_name_server_that_never_answers_is_a_timeout() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        await pause()
        return []

    async with HttpClient(TRUSTED, QUICK, resolve=resolve) as client:
        with pytest.raises(NetTimeout):
            await fetch(client, "http://slow.example/")


@pytest.mark.parametrize("failure", [OSError("no such name"), None])
async def test_a_name_without_an_address_is_a_broken_connection(failure: OSError | None) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        if failure:
            raise failure
        return []

    async with HttpClient(TRUSTED, resolve=resolve) as client:
        with pytest.raises(ConnectionBroken, match="check that it runs"):
            await fetch(client, "http://nowhere.example/")


async def test_a_compressed_answer_is_unpacked() -> None:
    async def packed(request: Request, writer: Writer, server: Server) -> None:
        assert "gzip" in request.headers["accept-encoding"]
        writer.write(answer(gzip.compress(b"hello" * 1000), headers="Content-Encoding: gzip\r\n"))

    async with serving(packed) as server, HttpClient(TRUSTED) as client:
        assert await fetch(client, server.url) == b"hello" * 1000


@pytest.mark.requirement("net:body-bounded")
async def test_a_small_body_that_unpacks_into_a_huge_one_is_cut_off_without_being_held() -> None:
    bomb = gzip.compress(b"\0" * 300_000_000, compresslevel=9)

    async def packed(request: Request, writer: Writer, server: Server) -> None:
        writer.write(answer(bomb, headers="Content-Encoding: gzip\r\n"))

    limit = 4 * 1024 * 1024
    sizes: list[int] = []
    async with serving(packed) as server, HttpClient(TRUSTED, NetSettings(body_limit=limit)) as client:
        with pytest.raises(AnswerTooLarge, match=str(limit)):
            async with client.get(server.url) as got:
                async for data in got:
                    sizes.append(len(data))  # noqa: PERF401 - kept up to the error
        with pytest.raises(AnswerTooLarge):
            await fetch(client, server.url)
    assert sum(sizes) <= limit
    assert max(sizes) <= 1024 * 1024


@pytest.mark.requirement("net:body-bounded")
async def test_a_caller_may_bound_a_body_more_tightly() -> None:
    async def long(request: Request, writer: Writer, server: Server) -> None:
        writer.write(answer(b"x" * 1001))

    async with serving(long) as server, HttpClient(TRUSTED) as client:
        async with client.get(server.url) as got:
            assert len(await got.body(limit=1001)) == 1001
        with pytest.raises(AnswerTooLarge, match="1000 bytes"):
            async with client.get(server.url) as got:
                await got.body(limit=1000)


@pytest.mark.requirement("net:not-http")
@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 500 + b"\r\n",
    ],
)
async def test_an_answer_that_is_no_http_is_a_protocol_error(wire: bytes) -> None:
    async def babble(request: Request, writer: Writer, server: Server) -> None:
        writer.write(wire)
        await writer.drain()
        writer.close()

    async with serving(babble) as server, HttpClient(TRUSTED) as client:
        with pytest.raises(ProtocolError, match="not HTTP"):
            await fetch(client, server.url)


@pytest.mark.requirement("net:not-http")
@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n",
        answer(b"this is not gzip", headers="Content-Encoding: gzip\r\n"),
    ],
)
async def test_a_body_that_breaks_its_own_rules_is_an_error_of_the_network(wire: bytes) -> None:
    async def babble(request: Request, writer: Writer, server: Server) -> None:
        writer.write(wire)
        await writer.drain()
        writer.close()

    async with serving(babble) as server, HttpClient(TRUSTED) as client:
        with pytest.raises((ProtocolError, ConnectionBroken)):
            await fetch(client, server.url)


async def test_a_secure_connection_to_a_plain_server_says_so() -> None:
    async with serving(greeting=answer()) as server, HttpClient(TRUSTED) as client:
        with pytest.raises(ConnectionBroken, match="no secure connection"):
            await fetch(client, server.url.replace("http:", "https:"))


@pytest.mark.requirement("net:no-smuggled-header")
@pytest.mark.parametrize("value", ["a\r\nX-Smuggled: 1", "a\nb", "a\0b"])
async def test_a_header_that_would_smuggle_another_is_refused_and_nothing_is_sent(value: str) -> None:
    async with serving() as server, HttpClient(TRUSTED) as client:
        with pytest.raises(RequestRefused, match="headers"):
            await fetch(client, server.url, headers={"Authorization": value})
        assert server.requests == []


@pytest.mark.requirement("net:redirects-only-on-request")
async def test_redirects_are_answers_unless_following_was_asked_for() -> None:
    async def wander(request: Request, writer: Writer, server: Server) -> None:
        step = int(request.line.split()[1][1:] or "0")
        if step < 3:
            writer.write(answer(b"moved", "302 Found", f"Location: /{step + 1}\r\n"))
        else:
            writer.write(answer(b"there"))

    async with serving(wander) as server, HttpClient(TRUSTED) as client:
        async with client.get(server.url) as got:
            assert (got.status, await got.body()) == (302, b"moved")
        async with client.get(server.url, redirects=3) as got:
            assert (got.status, await got.body()) == (200, b"there")
        with pytest.raises(ProtocolError, match="more than 2 times"):
            async with client.get(server.url, redirects=2):
                pass


async def test_a_redirect_without_a_location_is_the_answer() -> None:
    async def nowhere(request: Request, writer: Writer, server: Server) -> None:
        writer.write(answer(b"?", "302 Found"))

    async with serving(nowhere) as server, HttpClient(TRUSTED) as client, client.get(server.url, redirects=5) as got:
        assert (got.status, await got.body()) == (302, b"?")


@pytest.mark.requirement("net:keys-stay-home")
async def test_keys_do_not_travel_to_another_origin() -> None:
    async with serving(host="127.0.0.2") as other:

        async def away(request: Request, writer: Writer, server: Server) -> None:
            writer.write(answer(b"", "302 Found", f"Location: {other.url}/\r\n"))

        keys = {"Authorization": "Bearer k", "x-api-key": "k", "Accept": "text/plain"}
        async with serving(away) as server, HttpClient(TRUSTED) as client:
            sent = client.get(server.url, keys, redirects=1)
            async with sent as got:
                assert await got.body() == b"ok"
        (seen,) = other.requests
        assert seen.headers["accept"] == "text/plain"
        assert not {"authorization", "x-api-key"} & set(seen.headers)


@pytest.mark.requirement("net:no-ambient-state")
async def test_cookies_are_neither_kept_nor_sent() -> None:
    async def bake(request: Request, writer: Writer, server: Server) -> None:
        writer.write(answer(headers="Set-Cookie: a=b; Path=/\r\n"))

    async with serving(bake, host="127.0.0.1") as server, HttpClient(TRUSTED) as client:
        for _ in range(2):
            await fetch(client, server.url.replace("127.0.0.1", "localhost"))
    assert all("cookie" not in request.headers for request in server.requests)


def made(kind: type[BaseException]) -> BaseException:
    key = aiohttp.client_reqrep.ConnectionKey("h", 80, False, True, None, None, None)  # type: ignore[attr-defined]
    info = aiohttp.RequestInfo(aiohttp.client.URL("http://h/?key=geheim"), "GET", None, None)  # type: ignore[arg-type]
    candidates: list[tuple[object, ...]] = [
        (),
        ("http://h/?key=geheim",),
        (info, ()),
        (key, OSError("x")),
        (key, ssl.SSLCertVerificationError("x")),
        ("path", key, OSError("x")),
        (b"a", b"b", "h", 1),
    ]
    for arguments in candidates:
        try:
            error = kind(*arguments)
            str(error)
        except (TypeError, AttributeError, AssertionError):
            continue
        return error
    raise AssertionError(f"no way to make {kind}")


LIBRARY = [
    kind
    for _, kind in inspect.getmembers(client_exceptions, inspect.isclass)
    if issubclass(kind, Exception)
    and kind.__module__ == client_exceptions.__name__
    and kind is not aiohttp.WSMessageTypeError  # a mistake of a program that speaks WebSocket, which we do not
]


@pytest.mark.requirement("net:vendor-errors-mapped")
@pytest.mark.parametrize("kind", LIBRARY)
def test_every_exception_of_the_library_becomes_one_of_ours(kind: type[Exception]) -> None:
    assert issubclass(kind, CAUGHT)
    error = made(kind)
    assert isinstance(error, Exception)
    ours = translated(error, "http://h:80")
    assert isinstance(ours, NetError)
    assert type(ours) is not NetError
    assert "'http://h:80'" in str(ours)
    assert "geheim" not in str(ours)
    if issubclass(kind, TimeoutError):
        assert isinstance(ours, NetTimeout)


def test_the_list_of_the_librarys_exceptions_is_not_empty() -> None:
    assert len(LIBRARY) > 20
    assert issubclass(NetError, HoldfastError)


@pytest.mark.requirement("net:client-made-late")
def test_importing_the_package_loads_no_http_library_and_a_client_opens_nothing() -> None:
    code = (
        "import sys, holdfast; assert 'aiohttp' not in sys.modules\n"
        "from holdfast.net.client import HttpClient; from holdfast.safety.addresses import PUBLIC\n"
        "client = HttpClient(PUBLIC); assert client._pools is None; assert 'aiohttp' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)
