"""What one client may not keep the others from, however it speaks: over plain sockets, against a real listener."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import socket
import struct
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest
from tests.listening import BOUND, Client, Listening, certificate, listening, until

from holdfast.errors import UsageError
from holdfast.server.app import ROUTES
from holdfast.server.listening.caps import Caps
from holdfast.server.listening.sockets import Place
from holdfast.server.parts import Bounds
from holdfast.server.routing.route import Call, Raw, Route
from holdfast.server.streams.port import Stream

HEAD = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


class Size(msgspec.Struct, frozen=True):
    """How much came."""

    size: int


async def take(call: Call[None, None, Raw]) -> Size:
    """Says how much came."""
    return Size(len(call.body.data))


async def watch(call: Call[None, None, None]) -> Stream:
    """Streams until somebody leaves."""

    async def pieces() -> AsyncGenerator[bytes]:
        yield b"data: first\n\n"
        await asyncio.Event().wait()

    return Stream(pieces=pieces(), farewell=lambda: b"data: farewell\n\n")


async def flood(call: Call[None, None, None]) -> Raw:
    """Answers with more than a socket holds."""
    return Raw(b"x" * 32_000_000, "text/plain")


async def hang(call: Call[None, None, None]) -> None:
    """Never answers."""
    await asyncio.Event().wait()


TRIAL = (
    *ROUTES,
    Route(method="POST", path="/take", handle=take, scope=None, tag="trial", counted=False),
    *(
        Route(method="GET", path=path, handle=handle, scope=None, tag="trial", counted=False)
        for path, handle in (("/watch", watch), ("/flood", flood), ("/hang", hang))
    ),
)


async def others_are_served(server: Listening) -> None:
    """Fails where an ordinary client is not."""
    for _ in range(3):
        assert await server.get() == 200


async def everybody_left(server: Listening) -> None:
    """Returns when nobody is connected any more."""
    await until(lambda: not server.listener.keeper.connections)


def problem(answer: str) -> tuple[int, str]:
    """Returns status and code of an answer that is a problem."""
    head, _, body = answer.partition("\r\n\r\n")
    assert "application/problem+json" in head
    assert f"x-request-id: {json.loads(body)['request_id']}" in head
    return int(head.split()[1]), json.loads(body)["code"]


@pytest.mark.requirement("server_frame:slow-heads")
@pytest.mark.parametrize("sent", ["G", HEAD, HEAD + "X-A: b\r\nX-"], ids=["a letter", "a header", "half a header"])
async def test_a_head_that_does_not_end_is_answered_and_its_connection_closed_while_others_are_served(
    sent: str,
) -> None:
    async with listening(caps=Caps(head_seconds=0.3, looks=0.02)) as server:
        slow = [await server.connect() for _ in range(50)]
        for client in slow:
            client.send(sent)
        await others_are_served(server)
        for client in slow:
            assert problem(await client.rest()) == (408, "too_slow")
        await everybody_left(server)


@pytest.mark.requirement("server_frame:slow-heads")
async def test_dripping_header_by_header_gains_no_time_and_silence_gets_no_answer() -> None:
    async with listening(caps=Caps(head_seconds=0.4, looks=0.02)) as server:
        dripping, silent = await server.connect(), await server.connect()
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def drip() -> None:
            dripping.send(HEAD)
            while not dripping.writer.is_closing():
                dripping.send("X-A: b\r\n")
                await asyncio.sleep(0.05)  # the attack, not a wait

        task = asyncio.create_task(drip())
        answer = await dripping.rest()
        task.cancel()
        assert problem(answer) == (408, "too_slow")
        assert loop.time() - began < BOUND / 2
        assert await silent.rest() == ""


@pytest.mark.requirement("server_frame:slow-heads")
async def test_a_connection_between_two_requests_is_closed_after_a_while() -> None:
    async with listening(caps=Caps(idle_seconds=0.2, looks=0.02)) as server:
        client = await server.connect()
        client.send(HEAD + "\r\n")
        assert "200 OK" in await client.rest()


@pytest.mark.requirement("server_frame:large-heads")
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HEAD + "X-A: " + "a" * 1_000_000 + "\r\n\r\n", 431),
        (HEAD + "X-A: b\r\n" * 50_000 + "\r\n", 431),
        ("GET /" + "a" * 1_000_000 + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (HEAD + "X" * 1_000_000 + ": b\r\n\r\n", 431),
    ],
    ids=["one header", "many headers", "the path", "a name"],
)
async def test_a_megabyte_of_headers_is_refused_before_it_has_come(sent: str, status: int) -> None:
    async with listening() as server:
        client = await server.connect()
        client.send(sent[:100_000])  # the rest is never sent
        assert problem(await client.rest())[0] == status
        whole = await server.connect()
        whole.send(sent)
        answer = await whole.rest()
        assert problem(answer)[0] == status
        await others_are_served(server)


@pytest.mark.requirement("server_frame:slow-bodies")
async def test_a_body_that_comes_too_slowly_ends_its_request_and_one_that_keeps_the_pace_does_not() -> None:
    caps = Caps(body_seconds=0.3, body_rate=1_000, looks=0.02)
    async with listening(TRIAL, caps=caps) as server:
        head = "POST /take HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000\r\n\r\n"
        slow, steady = await server.connect(), await server.connect()
        slow.send(head + "a")
        steady.send(head)
        await others_are_served(server)

        async def pace() -> None:
            for _ in range(20):  # 2 seconds at the rate of 1,000 bytes a second, were it not faster
                steady.send("a" * 100)
                await asyncio.sleep(0.03)  # the pace, not a wait

        task = asyncio.create_task(pace())
        assert problem(await slow.rest()) == (408, "too_slow")
        await task
        assert "200 OK" in await steady.head()


@pytest.mark.requirement("server_frame:large-bodies", "server:request-size")
async def test_four_mebibytes_are_taken_and_one_byte_more_is_refused_however_it_is_sent() -> None:
    most = 4 * 1024 * 1024
    async with listening(TRIAL) as server:

        async def post(size: int, *, chunked: bool = False, close: bool = True) -> str:
            client = await server.connect()
            length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
            end = "Connection: close\r\n" if close else ""
            client.send(f"POST /take HTTP/1.1\r\nHost: localhost\r\n{length}\r\n{end}\r\n")
            body = b"a" * size
            client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (size, body) if chunked else body)
            if close:
                return await client.rest()
            return await client.head() + (await client.reader.read(65536)).decode()

        for chunked in (False, True):
            assert json.loads((await post(most, chunked=chunked)).partition("\r\n\r\n")[2]) == {"size": most}
            assert problem(await post(most + 1, chunked=chunked)) == (413, "body_too_large")
        assert problem(await post(most + 1, close=False)) == (413, "body_too_large")
        await others_are_served(server)


@pytest.mark.requirement("server_frame:large-bodies")
async def test_a_compressed_body_is_refused_unread() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    async with listening(TRIAL) as server:
        client = await server.connect()
        client.send(
            f"POST /take HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n"
            "Connection: close\r\n\r\n"
        )
        client.send(bomb)
        assert problem(await client.rest()) == (415, "compressed_body")


@pytest.mark.requirement("server_frame:large-bodies")
async def test_a_body_that_goes_on_after_its_answer_is_read_for_a_while_and_then_cut_off() -> None:
    async with listening(TRIAL, caps=Caps(parting_seconds=0.3, body_seconds=0.3, looks=0.02)) as server:
        client = await server.connect()
        client.send("POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        answer = await client.rest()
        assert answer.startswith("HTTP/1.1 405")
        assert answer.count("HTTP/1.1") == 1  # nothing is answered to a request that has its answer


@pytest.mark.requirement("server_frame:many-connections")
async def test_whoever_comes_above_the_bound_is_told_so_and_gets_in_when_others_have_left() -> None:
    async with listening(caps=Caps(connections=20, looks=0.02)) as server:
        first = [await server.connect() for _ in range(20)]
        await until(lambda: len(server.listener.keeper.connections) == 20)
        above = await server.connect()
        above.send(HEAD + "\r\n")
        answer = await above.rest()
        assert problem(answer) == (503, "too_many_connections")
        assert "retry-after" in answer
        first[0].writer.close()
        await until(lambda: len(server.listener.keeper.connections) == 19)
        assert await server.get() == 200
        for client in first[1:]:
            client.send(HEAD + "Connection: close\r\n\r\n")
            assert (await client.rest()).startswith("HTTP/1.1 200")


@pytest.mark.requirement("server_frame:many-connections")
async def test_one_address_can_take_no_more_than_its_share() -> None:
    async with listening(caps=Caps(connections_each=5, looks=0.02)) as server:
        mine = [await server.connect() for _ in range(6)]
        mine[5].send(HEAD + "\r\n")
        assert problem(await mine[5].rest()) == (503, "too_many_connections")
        other = await server.connect("127.0.0.2")
        other.send(HEAD + "Connection: close\r\n\r\n")
        assert (await other.rest()).startswith("HTTP/1.1 200")


@pytest.mark.requirement("server_frame:many-connections")
async def test_two_thousand_connections_that_say_nothing_keep_nobody_waiting() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 6_000)), hard))
    try:
        async with listening() as server:
            idle: list[Client] = []
            for _ in range(20):
                idle += await asyncio.gather(*(server.connect() for _ in range(100)))
            await others_are_served(server)
            assert len(server.listener.keeper.connections) >= 2_000
            for client in idle:
                client.writer.transport.abort()
            await everybody_left(server)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.requirement("server_frame:half-open")
async def test_connections_notice_peers_that_are_gone_without_a_word() -> None:
    async with listening(caps=Caps(dead_after=40)) as server:
        client = await server.connect()
        client.send(HEAD)
        await until(lambda: bool(server.listener.keeper.connections))
        own = next(iter(server.listener.keeper.connections)).transport.get_extra_info("socket")  # type: ignore[attr-defined]
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 20
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 40_000


@pytest.mark.requirement("server_frame:half-open")
async def test_a_client_that_resets_in_the_middle_leaves_nothing_behind() -> None:
    async with listening(TRIAL, bounds=Bounds(grace=0.1)) as server:
        for path in ("/watch", "/flood", "/hang", "/take"):
            client = await server.connect()
            body = "Content-Length: 100\r\n" if path == "/take" else ""
            client.send(f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: localhost\r\n{body}\r\na")
            if path in ("/watch", "/flood"):
                await client.head()
            own = client.writer.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.writer.transport.abort()
        await everybody_left(server)
        await others_are_served(server)


@pytest.mark.requirement("server_frame:slow-readers")
async def test_whoever_takes_nothing_of_an_answer_is_left() -> None:
    async with listening(TRIAL, caps=Caps(stall_seconds=0.3, looks=0.02)) as server:
        client = await server.connect()
        client.send("GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await client.head()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await everybody_left(server)
        await others_are_served(server)
        client.writer.transport.abort()


@pytest.mark.requirement("server_frame:pipelining")
async def test_requests_that_are_sent_at_once_are_answered_one_after_another_in_their_order() -> None:
    async with listening() as server:
        client = await server.connect()
        paths = ["/healthz", "/version", "/nothing", "/healthz"]
        client.send("".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in paths[:-1]))
        client.send(f"GET {paths[-1]} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answers = (await client.rest()).split("HTTP/1.1 ")[1:]
        assert [each[:3] for each in answers] == ["200", "200", "404", "200"]
        assert '"version"' in answers[1]


@pytest.mark.requirement("server_frame:pipelining")
async def test_nonsense_behind_a_request_spoils_no_answer_that_is_on_its_way() -> None:
    async with listening(TRIAL) as server:
        client = await server.connect()
        client.send("GET /watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await client.head()
        client.send("NONSENSE\r\n\r\n" + HEAD + "\r\n")
        await others_are_served(server)
        server.service.closing.set()
        rest = await client.rest()
        assert "farewell" in rest
        assert "HTTP/1.1" not in rest


@pytest.mark.requirement("server_frame:pipelining")
async def test_ten_thousand_requests_at_once_on_one_connection_are_not_kept_in_memory() -> None:
    async with listening(TRIAL, bounds=Bounds(grace=0.1)) as server:
        client = await server.connect()
        client.send("GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n" + (HEAD + "\r\n") * 10_000)
        await until(lambda: bool(server.listener.keeper.connections))
        connection = next(iter(server.listener.keeper.connections))
        await others_are_served(server)
        assert len(connection.pipeline) <= 16  # type: ignore[attr-defined]
        client.writer.transport.abort()
        await everybody_left(server)


@pytest.mark.requirement("server_frame:pipelining")
async def test_a_stream_with_a_request_behind_it_ends_when_its_client_is_gone() -> None:
    async with listening(TRIAL) as server:
        client = await server.connect()
        client.send("GET /watch HTTP/1.1\r\nHost: localhost\r\n\r\n" + HEAD + "\r\n")
        await client.head()
        client.writer.transport.abort()
        await until(lambda: not server.listener._state.tasks)


@pytest.mark.requirement("server_frame:pipelining")
@pytest.mark.parametrize(
    "sent",
    [
        "GARBAGE\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nX: a\r\n folded\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nX : a\r\n\r\n",
        "CONNECT example.com:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01",
    ],
)
async def test_what_is_no_request_is_refused_once_and_the_connection_closed(sent: str) -> None:
    async with listening(TRIAL) as server:
        client = await server.connect()
        client.send(sent)
        client.writer.write_eof() if sent.startswith("\x16") else None
        answer = await client.rest()
        assert answer == "" or (problem(answer)[0] == 400 and answer.count("HTTP/1.1 ") == 1)
        await others_are_served(server)


@pytest.mark.requirement("server_frame:loopback-rule")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
async def test_without_keys_nothing_but_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(UsageError, match=r"no keys(.|\n)*holdfast serve keys create(.|\n)*127\.0\.0\.1"):
        async with listening(place=Place(host=host, port=0)):
            pass


@pytest.mark.requirement("server_frame:places")
async def test_a_socket_file_is_listened_on_and_one_that_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with listening(place=Place(unix=path)) as server:
        assert server.listener.url == f"unix:{path}"
        client = Client(*await asyncio.open_unix_connection(path))
        client.send(HEAD + "Connection: close\r\n\r\n")
        assert (await client.rest()).startswith("HTTP/1.1 200")
        with pytest.raises(UsageError, match="cannot listen"):
            async with listening(place=Place(unix=path)):
                pass
    assert not path.exists()


@pytest.mark.requirement("server_frame:places")
async def test_tls_is_spoken_where_a_certificate_is_given(tmp_path: Path) -> None:
    import ssl

    cert, key = certificate(tmp_path)
    async with listening(place=Place(port=0, certificate=cert, key=key)) as server:
        assert server.listener.url.startswith("https://")
        context = ssl.create_default_context(cafile=cert)
        client = Client(*await asyncio.open_connection("localhost", server.port, ssl=context, family=socket.AF_INET))
        client.send(HEAD + "Connection: close\r\n\r\n")
        assert (await client.rest()).startswith("HTTP/1.1 200")


@pytest.mark.requirement("server_frame:farewell")
async def test_the_end_comes_in_order_readiness_then_streams_then_requests_then_connections() -> None:
    finished = asyncio.Event()

    async def slow(call: Call[None, None, None]) -> Size:
        """Answers when it is told to."""
        await finished.wait()
        return Size(1)

    routes = (*TRIAL, Route(method="GET", path="/slow", handle=slow, scope=None, tag="trial", counted=False))
    async with asyncio.timeout(BOUND), asyncio.TaskGroup() as group:
        leave, left = asyncio.Event(), asyncio.Event()
        found: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()

        async def serve() -> None:
            async with listening(routes, bounds=Bounds(grace=10)) as server:
                found.set_result(server)
                await leave.wait()
            left.set()

        group.create_task(serve())
        server = await found
        stream, request, idle = [await server.connect() for _ in range(3)]
        stream.send("GET /watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
        request.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await stream.head()
        idle.send(HEAD + "\r\n")
        await idle.head()
        server.clients.clear()  # they stay
        leave.set()
        assert "data: farewell" in await stream.rest()
        assert await server.get("/readyz") == 503
        assert await server.get("/openapi.json") == 503  # nothing new begins
        assert await server.get("/healthz") == 200
        await idle.gone()
        assert not left.is_set()
        finished.set()
        assert '{"size":1}' in await request.rest()
        await left.wait()


@pytest.mark.requirement("server_frame:farewell")
async def test_what_takes_longer_than_the_grace_is_cut_off() -> None:
    async with listening(TRIAL, bounds=Bounds(grace=0.1)) as server:
        client = await server.connect()
        client.send("GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: bool(server.listener._state.tasks))
        server.clients.clear()  # it stays
    assert problem(await client.rest()) == (503, "closing")
