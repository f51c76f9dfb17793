"""Every fault of the scripted model server, as the bytes and the end a bare socket sees."""

import asyncio
import gzip
import json
from collections.abc import Callable
from typing import Any, final

import openai
import pytest

from holdfast.flow.clock import Clock, SystemClock, Timer
from holdfast.testing import Bounds, Call, ScriptedModelServer, Turn
from holdfast.testing.faults import (
    Cut,
    Drip,
    Empty,
    Fault,
    GzipBomb,
    Hang,
    Malformed,
    Reset,
    Status,
    StreamError,
    Truncated,
    Unfinished,
    WrongType,
)

TEXT = "Twenty words are more than enough to be cut in the middle of an answer, so here they all come."
DATE = "Wed, 21 Oct 2037 07:28:00 GMT"
DONE = b"data: [DONE]\n\n"


def ask(
    *, stream: bool = True, answers: int = 0, prompt: str = "go", close: bool = True, version: str = "1.1"
) -> bytes:
    messages: list[Any] = [{"role": "user", "content": prompt}]
    messages += [{"role": "assistant", "content": "so"}] * answers
    body = json.dumps({"model": "m", "stream": stream, "messages": messages}).encode()
    wish = "connection: close\r\n" if close else ""
    head = f"POST /v1/chat/completions HTTP/{version}\r\nhost: x\r\n{wish}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def exchange(server: ScriptedModelServer, request: bytes) -> tuple[bytes, str]:
    """Returns all bytes that came, and whether the connection ended with `fin` or `rst`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    came = bytearray()
    try:
        async with asyncio.timeout(5):
            while data := await reader.read(65536):
                came += data
        return bytes(came), "fin"
    except ConnectionResetError:
        return bytes(came), "rst"
    finally:
        writer.transport.abort()


def split(answer: bytes) -> tuple[str, bytes, bool]:
    """Returns head, body without its framing, and whether the framing says that the body is whole."""
    raw_head, _, rest = answer.partition(b"\r\n\r\n")
    head = raw_head.decode().lower()
    if "transfer-encoding: chunked" not in head:
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        return head, rest, len(rest) == length
    body = b""
    while rest:
        digits, _, rest = rest.partition(b"\r\n")
        size = int(digits, 16)
        if size == 0:
            return head, body, rest == b"\r\n"
        body, rest = body + rest[:size], rest[size + 2 :]
    return head, body, False


async def play(fault: Fault, *, stream: bool = True) -> tuple[bytes, str]:
    async with ScriptedModelServer([Turn(TEXT, fault=fault, chunk=10)]) as server:
        got = await exchange(server, ask(stream=stream))
        assert [one.fault for one in server.requests] == [fault.__struct_config__.tag]
        server.verify()
        return got


async def good(*, stream: bool = True) -> bytes:
    async with ScriptedModelServer([Turn(TEXT, chunk=10)]) as server:
        answer, end = await exchange(server, ask(stream=stream))
    _, body, whole = split(answer)
    assert (whole, end) == (True, "fin")
    return body


@pytest.mark.requirement("testing:fault-reset-after-bytes")
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("count", [0, 1, 100])
async def test_the_connection_is_reset_after_so_many_bytes_of_the_body(count: int, stream: bool) -> None:
    answer, end = await play(Reset(after_bytes=count), stream=stream)
    _, body, whole = split(answer)
    assert (end, whole) == ("rst", False)
    assert body == (await good(stream=stream))[:count]


@pytest.mark.requirement("testing:fault-reset-after-bytes")
async def test_a_reset_comes_after_megabytes_that_all_arrived() -> None:
    turn = Turn("x" * 3_000_000, chunk=3_000_000, fault=Reset(after_bytes=2_500_000))
    async with ScriptedModelServer([turn]) as server:
        answer, end = await exchange(server, ask(stream=False))
    assert end == "rst"
    assert len(split(answer)[1]) == 2_500_000


@pytest.mark.requirement("testing:fault-reset-after-events")
@pytest.mark.parametrize("count", [0, 1, 4])
async def test_the_connection_is_reset_after_so_many_events(count: int) -> None:
    answer, end = await play(Reset(after_events=count))
    _, body, whole = split(answer)
    assert (end, whole) == ("rst", False)
    assert body.count(b"\n\n") == count
    assert (await good()).startswith(body)


@pytest.mark.requirement("testing:fault-reset-after-bytes")
def test_faults_are_as_real_under_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def both() -> list[tuple[int, str]]:
        turns = [Turn("x" * 3_000_000, fault=Reset(after_bytes=2_500_000)), Turn(TEXT, fault=Cut(after_events=0))]
        async with ScriptedModelServer(turns) as server:
            got = [await exchange(server, ask(stream=False, answers=number)) for number in range(2)]
        return [(len(split(answer)[1]), end) for answer, end in got]

    assert uvloop.run(both()) == [(2_500_000, "rst"), (0, "fin")]


@pytest.mark.requirement("testing:fault-reset-after-bytes", "testing:fault-reset-after-events")
async def test_a_reset_after_nothing_comes_before_the_headers() -> None:
    assert await play(Reset()) == (b"", "rst")


@pytest.mark.requirement("testing:fault-cut")
async def test_a_cut_closes_the_connection_in_good_order_before_the_body_is_whole() -> None:
    answer, end = await play(Cut(after_events=3))
    _, body, whole = split(answer)
    assert (end, whole, body.count(b"\n\n")) == ("fin", False, 3)
    assert await play(Cut()) == (b"", "fin")


@pytest.mark.requirement("testing:fault-malformed-event")
async def test_a_chosen_event_is_no_json_and_the_others_are_as_they_should_be() -> None:
    answer, end = await play(Malformed(after_events=2, data="{oops"))
    _, body, whole = split(answer)
    events = body.split(b"\n\n")[:-1]
    assert (end, whole, events[2]) == ("fin", True, b"data: {oops")
    del events[2]
    assert b"".join(event + b"\n\n" for event in events) == await good()
    _, body, whole = split((await play(Malformed(), stream=False))[0])
    assert whole
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


@pytest.mark.requirement("testing:fault-truncated-json")
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_breaks_off_inside_its_json_and_http_calls_it_whole(stream: bool) -> None:
    answer, end = await play(Truncated(), stream=stream)
    _, body, whole = split(answer)
    assert (end, whole) == ("fin", True)
    assert DONE not in body
    assert (await good(stream=stream)).startswith(body)
    with pytest.raises(json.JSONDecodeError):
        json.loads(body.split(b"data: ")[-1])


@pytest.mark.requirement("testing:fault-unfinished")
async def test_an_unfinished_stream_has_all_its_words_and_neither_reason_nor_done() -> None:
    answer, end = await play(Unfinished())
    _, body, whole = split(answer)
    assert (end, whole) == ("fin", True)
    events = [json.loads(event.removeprefix(b"data: ")) for event in body.split(b"\n\n")[:-1]]
    assert "".join(event["choices"][0]["delta"]["content"] for event in events) == TEXT
    assert {event["choices"][0]["finish_reason"] for event in events} == {None}


@pytest.mark.requirement("testing:fault-status")
@pytest.mark.parametrize("status", [429, 500, 503, 529])
@pytest.mark.parametrize(
    ("wait", "header"), [(None, None), (2, "2"), (0.25, "0.25"), ("Wed, 21 Oct 2037 07:28:00 GMT",) * 2]
)
async def test_an_error_status_is_served_with_or_without_a_wait(
    status: int, wait: float | str | None, header: str | None
) -> None:
    fault = Status(status=status, retry_after=wait, message="not now", code="why")
    async with (
        ScriptedModelServer([Turn(TEXT, fault=fault)]) as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client,
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
    assert caught.value.status_code == status
    assert isinstance(caught.value, openai.RateLimitError) == (status == 429)
    assert caught.value.response.headers.get("retry-after") == header
    assert isinstance(caught.value.body, dict)
    types = {429: "rate_limit_error", 500: "server_error", 503: "service_unavailable_error", 529: "overloaded_error"}
    assert caught.value.body == {"message": "not now", "type": types[status], "param": None, "code": "why"}
    assert server.requests[0].status == status


@final
class Pauses(Clock):
    """A clock on which nobody waits, and which remembers how long they wanted to."""

    def __init__(self) -> None:
        self.wanted: list[float] = []
        self._real = SystemClock()

    def now(self) -> int:
        return self._real.now()

    def monotonic(self) -> float:
        return self._real.monotonic()

    async def sleep(self, seconds: float) -> None:
        self.wanted.append(seconds)
        await asyncio.sleep(0)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self._real.call_later(seconds, callback)


@pytest.mark.requirement("testing:fault-slow-drip")
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("size", [None, 1, 7])
async def test_an_answer_drips_event_by_event_or_so_many_bytes_at_a_time(size: int | None, stream: bool) -> None:
    clock = Pauses()
    turn = Turn(TEXT, fault=Drip(seconds=0.5, bytes=size), chunk=10, delay=9)
    async with ScriptedModelServer([turn], clock=clock) as server:
        answer, end = await exchange(server, ask(stream=stream))
    _, body, whole = split(answer)
    expected = await good(stream=stream)
    assert (body, whole, end) == (expected, True, "fin")
    size = size or (None if stream else 64)
    pieces = expected.count(b"\n\n") if size is None else -(-len(expected) // size)
    assert clock.wanted == [9, *[0.5] * pieces]


@pytest.mark.requirement("testing:fault-empty-body")
@pytest.mark.parametrize("stream", [True, False])
async def test_a_good_status_comes_with_no_body(stream: bool) -> None:
    head, body, whole = split((await play(Empty(), stream=stream))[0])
    assert head.startswith("http/1.1 200 ok")
    assert (body, whole) == (b"", True)
    assert ("text/event-stream" if stream else "application/json") in head


@pytest.mark.requirement("testing:fault-wrong-content-type")
async def test_a_page_of_html_comes_in_place_of_a_stream() -> None:
    head, body, whole = split((await play(WrongType()))[0])
    assert head.startswith("http/1.1 200 ok")
    assert "content-type: text/html" in head
    assert whole
    assert body.startswith(b"<!doctype html>")


@pytest.mark.requirement("testing:fault-gzip-bomb")
async def test_a_gzip_bomb_is_small_on_the_wire_and_large_when_unpacked() -> None:
    head, body, whole = split((await play(GzipBomb(megabytes=8)))[0])
    assert "content-encoding: gzip" in head
    assert whole
    assert len(body) < 50_000
    assert len(gzip.decompress(body)) == 8 << 20


@pytest.mark.requirement("testing:fault-hang")
@pytest.mark.parametrize(
    ("events", "beginning"), [(None, b""), (0, b"HTTP/1.1 200 OK\r\n"), (2, b"HTTP/1.1 200 OK\r\n")]
)
async def test_the_server_says_nothing_more_until_the_client_gives_up(events: int | None, beginning: bytes) -> None:
    async with ScriptedModelServer([Turn(TEXT, fault=Hang(after_events=events))]) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(ask())
        await asyncio.wait_for(server.arrived(1), 5)
        came = b"" if events is None else await asyncio.wait_for(reader.read(65536), 5)
        assert came.startswith(b"" if events is None else b"HTTP/1.1 200 OK\r\n")
        assert came.count(b"data: ") == (events or 0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        writer.close()
        await writer.wait_closed()
        tasks = [task for task in asyncio.all_tasks() if "Connection._play" in str(task.get_coro())]
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)  # ended by the client's leaving
        assert tasks


@pytest.mark.requirement("testing:fault-hang")
async def test_a_server_that_stops_resets_the_clients_it_was_silent_to() -> None:
    async with ScriptedModelServer([Turn(TEXT, fault=Hang())]) as server:
        asking = asyncio.create_task(exchange(server, ask()))
        await asyncio.wait_for(server.arrived(1), 5)
    assert await asking == (b"", "rst")


@pytest.mark.requirement("testing:fault-sequence")
async def test_faults_come_in_sequence_for_each_run_of_its_own_and_then_the_turn_succeeds() -> None:
    faults = [Status(status=429, times=2), Reset(times=1)]
    async with ScriptedModelServer([Turn(TEXT, fault=faults)]) as server:
        for prompt in ("one run", "another run"):
            ends: list[str] = []
            for _ in range(5):
                answer, end = await exchange(server, ask(prompt=prompt))
                ends.append(answer[9:12].decode() or end)
            assert ends == ["429", "429", "rst", "200", "200"]
    server.verify()


@pytest.mark.requirement("testing:fault-sequence")
async def test_the_official_clients_own_retry_gets_through_a_fault_that_ends() -> None:
    turn = Turn("through", calls=[Call("add")], fault=Status(status=429, retry_after=0, times=1))
    async with (
        ScriptedModelServer(lambda request: turn) as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="x", max_retries=1) as client,
    ):
        answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    assert answer.choices[0].message.content == "through"
    assert [(one.status, one.fault) for one in server.requests] == [(429, "status"), (200, "")]


async def test_a_turn_that_only_ever_failed_for_a_time_counts_as_unconsumed() -> None:
    async with ScriptedModelServer([Turn(TEXT, fault=Status(times=2))]) as server:
        await exchange(server, ask())
    with pytest.raises(AssertionError, match="never got"):
        server.verify()


# ---- HTTP ----


async def test_requests_sent_ahead_and_byte_by_byte_are_answered_in_their_order() -> None:
    async with ScriptedModelServer([Turn("a", delay=0.001), Turn("b"), Turn("c")]) as server:
        ahead = b"".join(ask(stream=False, answers=number, close=number == 2) for number in range(3))
        answer, end = await exchange(server, ahead)
        assert end == "fin"
        assert [answer.index(b'"content":"%b"' % letter) for letter in (b"a", b"b", b"c")] == sorted(
            answer.index(b'"content":"%b"' % letter) for letter in (b"a", b"b", b"c")
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for byte in ask(stream=False):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert b'"content":"a"' in await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await writer.wait_closed()
    assert len(server.requests) == 4


async def test_a_chunked_request_and_one_that_waits_for_leave_are_read_whole() -> None:
    body = ask(stream=False).partition(b"\r\n\r\n")[2]
    pieces = b"".join(
        b"%x;x=y\r\n%b\r\n" % (len(body[at : at + 9]), body[at : at + 9]) for at in range(0, len(body), 9)
    )
    head = b"POST /chat/completions HTTP/1.1\r\nconnection: close\r\n"
    async with ScriptedModelServer(["hi"]) as server:
        answer, _ = await exchange(server, head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n")
        assert split(answer)[0].startswith("http/1.1 200")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body))
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()
    assert [one.body for one in server.requests] == [body, body]


async def test_an_old_client_gets_its_stream_with_a_length() -> None:
    async with ScriptedModelServer([Turn(TEXT, chunk=10)]) as server:
        answer, end = await exchange(server, ask(version="1.0", close=False))
    head, body, whole = split(answer)
    assert "content-length" in head
    assert (body, whole, end) == (await good(), True, "fin")


@pytest.mark.requirement("testing:server-hostile-input")
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET /\x1b[2J HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000, 431),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n", 413),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
        (b"GET /nowhere HTTP/1.1\r\nconnection: close\r\n\r\n", 404),
        (b"POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}", 400),
        (b"POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\n\xff\xff", 400),
    ],
)
async def test_what_is_no_request_is_refused_with_a_reason_and_reported(sent: bytes, status: int) -> None:
    async with ScriptedModelServer(["hi"], bounds=Bounds(body=1_000_000)) as server:
        answer, _ = await exchange(server, sent)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        _, body, whole = split(answer)
        assert whole
        assert json.loads(body)["error"]["message"]
        assert [one.status for one in server.report().unexpected] == [status]
        assert b"hi" in (await exchange(server, ask()))[0]  # and the server goes on


async def test_health_answers_without_a_key() -> None:
    async with ScriptedModelServer([]) as server:
        answer, _ = await exchange(server, b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert split(answer)[1] == b'{"status":"ok"}'
    server.verify()


@pytest.mark.requirement("testing:fault-stream-error")
@pytest.mark.parametrize("stream", [True, False])
async def test_a_server_says_in_the_middle_that_it_cannot_go_on(stream: bool) -> None:
    answer, end = await play(StreamError(after_events=3), stream=stream)
    head, body, whole = split(answer)
    assert (whole, end) == (True, "fin")
    assert b"overloaded_error" in body
    if stream:
        assert (await good()).startswith(body[: body.index(b'data: {"error"')])
    else:
        assert head.startswith("http/1.1 529")
