"""Servers that answer with anything but an answer: what each of them sends, in the words of any protocol.

An attack is given the writer of a connection whose request was read, and the wire it speaks. What should come of it is
the test's word, not said here.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable

from tests.wires import KEY, Wire, events_of, framed, unframed, whole_of

from holdfast.testing.protocols import PROTOCOLS
from holdfast.types import AssistantMessage, CallId, Text, ToolCall, Usage

__all__ = ("ANSWER", "WORDS", "Attack", "beginning", "piece", "replaced", "stream_of")

Attack = Callable[[asyncio.StreamWriter, Wire], Awaitable[None]]

WORDS = "only this"
ANSWER = AssistantMessage(
    (Text(WORDS), ToolCall(CallId("c1"), "f", '{"x":1}')), "provider/m", "tool_calls", Usage(77777, 5)
)
"""What a server says that says something after all."""


def stream_of(wire: Wire, message: AssistantMessage = ANSWER) -> bytes:
    """Returns a whole answer."""
    return b"".join(events_of(wire, message, None))


def beginning(wire: Wire, words: str = WORDS) -> bytes:
    """Returns an answer up to its words."""
    events = events_of(wire, AssistantMessage((Text(words),), "provider/m"), None)
    last = next(place for place, event in enumerate(events) if words.encode() in event)
    return b"".join(events[: last + 1])


def piece(wire: Wire, words: str) -> bytes:
    """Returns the event that says some words."""
    return next(e for e in events_of(wire, AssistantMessage((Text(words),), "p/m"), None) if words.encode() in e)


def replaced(wire: Wire, old: bytes, new: bytes) -> bytes:
    """Returns a whole answer with something else in the JSON of its events."""
    events = events_of(wire, ANSWER, None)
    assert any(old in event for event in events)
    return b"".join(framed(wire, unframed(wire, e).replace(old, new)) if old in e else e for e in events)


# ---- HTTP -----------------------------------------------------------------------------------------------------


async def sent(writer: asyncio.StreamWriter, status: str, kind: str, body: bytes, more: str = "") -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    writer.write(head.encode("latin-1") + body)
    await writer.drain()


async def start(writer: asyncio.StreamWriter, wire: Wire, more: str = "") -> None:
    kind = PROTOCOLS[wire.protocol].media
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n{more}\r\n".encode())
    await writer.drain()


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))
    await writer.drain()


async def streamed(writer: asyncio.StreamWriter, wire: Wire, data: bytes) -> None:
    await sent(writer, "200 OK", PROTOCOLS[wire.protocol].media, data)


async def for_ever(writer: asyncio.StreamWriter, data: bytes) -> None:
    while True:
        writer.write(data)
        await writer.drain()


# ---- no protocol at all ---------------------------------------------------------------------------------------


async def an_html_page(writer: asyncio.StreamWriter, wire: Wire) -> None:
    page = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"
    await sent(writer, "200 OK", "text/html", page)


async def an_html_error(writer: asyncio.StreamWriter, wire: Wire) -> None:
    page = b"<html><body><h1>503 Service Unavailable</h1><script>steal()</script></body></html>"
    await sent(writer, "503 Service Unavailable", "text/html", page)


async def a_key_refused_in_html(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await sent(writer, "403 Forbidden", "text/html", b"<html><body>Forbidden</body></html>")


async def plain_words(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await sent(writer, "200 OK", "text/plain", b"upstream is resting, come back on Monday")


async def json_of_something_else(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await sent(writer, "200 OK", "application/json", b'{"hello":"world"}')


async def nothing_with_204(writer: asyncio.StreamWriter, wire: Wire) -> None:
    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")


async def nothing_with_200(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await streamed(writer, wire, b"")


async def another_protocol(writer: asyncio.StreamWriter, wire: Wire) -> None:
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" + bytes(50))


async def no_http(writer: asyncio.StreamWriter, wire: Wire) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n" + bytes(50))
    writer.close()


async def gone_at_once(writer: asyncio.StreamWriter, wire: Wire) -> None:
    writer.close()


# ---- elsewhere ------------------------------------------------------------------------------------------------


async def a_redirect_to_the_metadata(writer: asyncio.StreamWriter, wire: Wire) -> None:
    place = "Location: http://169.254.169.254/latest/meta-data/iam/\r\n"
    await sent(writer, "307 Temporary Redirect", "text/plain", b"", place)


async def a_redirect_to_a_file(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await sent(writer, "302 Found", "text/plain", b"", "Location: file:///etc/passwd\r\n")


# ---- sizes ----------------------------------------------------------------------------------------------------


async def a_gzip_bomb(writer: asyncio.StreamWriter, wire: Wire) -> None:
    bomb = gzip.compress(bytes(1 << 20), 9) * 600  # six hundred members of a megabyte
    await sent(writer, "200 OK", PROTOCOLS[wire.protocol].media, bomb, "Content-Encoding: gzip\r\n")


async def an_event_of_50_mb(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await start(writer, wire)
    if wire.protocol == "converse":
        await send(writer, piece(wire, "x" * (9 << 20))[:1000])  # its length stands in front
    else:
        await send(writer, beginning(wire, "x" * 100)[:-20])
        for _ in range(50):
            await send(writer, b"x" * (1 << 20))
    await asyncio.Event().wait()


async def an_endless_answer(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await start(writer, wire)
    event = piece(wire, "and so on, " * 3000)
    await send(writer, beginning(wire))
    await for_ever(writer, b"%x\r\n%b\r\n" % (len(event), event))


async def calls_without_end(writer: asyncio.StreamWriter, wire: Wire) -> None:
    given = '{"x":"%s"}' % ("x" * 3000)
    message = AssistantMessage(tuple(ToolCall(CallId(f"c{n}"), "f", given) for n in range(9)), "p/m", "tool_calls")
    spoken = PROTOCOLS[wire.protocol]
    events = [e for e in events_of(wire, message, None) if not spoken.finishes(e) and not e.startswith(spoken.ends)]
    calls = b"".join(events)
    await start(writer, wire)
    await for_ever(writer, b"%x\r\n%b\r\n" % (len(calls), calls))


async def blanks_without_end(writer: asyncio.StreamWriter, wire: Wire) -> None:
    line = b":" + b"-" * 2046 + b"\n" if "event-stream" in PROTOCOLS[wire.protocol].media else b"\n" * 2048
    await start(writer, wire)
    await for_ever(writer, b"10000\r\n%b\r\n" % (line * 32))


async def a_header_of_1_mb(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await sent(writer, "200 OK", PROTOCOLS[wire.protocol].media, stream_of(wire), f"X-Big: {'x' * (1 << 20)}\r\n")


async def too_many_headers(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await sent(writer, "200 OK", PROTOCOLS[wire.protocol].media, stream_of(wire), "X-Small: x\r\n" * 50_000)


async def trailers_without_end(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await start(writer, wire)
    await send(writer, beginning(wire))
    writer.write(b"0\r\n")
    await for_ever(writer, b"X-Small: xxxxxxxxxxxxxxxx\r\n" * 1000)


async def continues_without_end(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await for_ever(writer, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


# ---- lies about length, and ends --------------------------------------------------------------------------------


async def a_cut_chunk(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await start(writer, wire)
    writer.write(b"fffff\r\n" + beginning(wire))
    writer.close()


async def chunks_without_an_end(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await start(writer, wire)
    await send(writer, beginning(wire))
    writer.close()


async def a_chunk_of_no_number(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await start(writer, wire)
    await send(writer, beginning(wire))
    writer.write(b"-5\r\nhello\r\n")


async def less_than_promised(writer: asyncio.StreamWriter, wire: Wire) -> None:
    data = beginning(wire)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data) + 500, data))
    writer.close()


async def more_than_promised(writer: asyncio.StreamWriter, wire: Wire) -> None:
    data = beginning(wire)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), stream_of(wire)))


async def two_lengths(writer: asyncio.StreamWriter, wire: Wire) -> None:
    data = stream_of(wire)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))


async def a_socket_half_closed(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await start(writer, wire)
    await send(writer, beginning(wire))
    writer.write_eof()
    await asyncio.Event().wait()


async def a_silent_one(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await start(writer, wire)
    await send(writer, beginning(wire))
    await asyncio.Event().wait()


async def an_end_without_a_reason(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await streamed(writer, wire, beginning(wire))


# ---- encodings ------------------------------------------------------------------------------------------------


async def bytes_that_are_no_text(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await start(writer, wire)
    await send(writer, framed(wire, unframed(wire, piece(wire, "words")).replace(b"words", b"w\xff\xfe\x80s")))
    await asyncio.Event().wait()


async def an_encoding_nobody_knows(writer: asyncio.StreamWriter, wire: Wire) -> None:
    packed = bytes(byte ^ 0xA5 for byte in stream_of(wire))
    await sent(writer, "200 OK", PROTOCOLS[wire.protocol].media, packed, "Content-Encoding: secret-sauce\r\n")


async def a_broken_gzip(writer: asyncio.StreamWriter, wire: Wire) -> None:
    packed = gzip.compress(stream_of(wire))
    broken = packed[:20] + b"\0\0\0\0" + packed[24:]
    await sent(writer, "200 OK", PROTOCOLS[wire.protocol].media, broken, "Content-Encoding: gzip\r\n")


async def half_a_surrogate(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await streamed(writer, wire, replaced(wire, WORDS.encode(), rb"\ud800"))


# ---- JSON -----------------------------------------------------------------------------------------------------


async def deep_nesting(writer: asyncio.StreamWriter, wire: Wire) -> None:
    deep = b'{"deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    await streamed(writer, wire, framed(wire, b'{"contentBlockDelta":%b}' % deep))


async def a_number_without_bound(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await streamed(writer, wire, replaced(wire, b"77777", b"1e999"))


# ---- errors in words ------------------------------------------------------------------------------------------

_NASTY = f"\x1b[2J\x1b]0;owned\x07 fell\r\nover\u202e\u2028 with {KEY}\0"


async def an_error_after_words(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await streamed(writer, wire, beginning(wire) + PROTOCOLS[wire.protocol].failure(_NASTY, "server_error"))


async def an_error_full_of_controls(writer: asyncio.StreamWriter, wire: Wire) -> None:
    body = PROTOCOLS[wire.protocol].error(500, _NASTY * 50, "", None)
    await sent(writer, "500 Internal Server Error", "application/json", body)


async def a_key_said_again(writer: asyncio.StreamWriter, wire: Wire) -> None:
    body = PROTOCOLS[wire.protocol].error(401, f"no such key: Bearer {KEY}", "", None)
    await sent(writer, f"401 {KEY}", "application/json", body, f"X-Request-Id: {KEY}\r\nX-Amzn-RequestId: {KEY}\r\n")


async def a_key_in_a_redirect(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await sent(writer, "302 Found", "text/plain", b"", f"Location: https://elsewhere.example/?key={KEY}\r\n")


async def a_key_in_a_page(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await sent(writer, "200 OK", "text/html", f"<html><h1>you sent <b>{KEY}</b></h1></html>".encode())


# ---- odd, and still an answer -----------------------------------------------------------------------------------


async def a_body_and_no_stream(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await sent(writer, "200 OK", "application/json", whole_of(wire, ANSWER))


async def each_byte_a_chunk(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await start(writer, wire)
    data = stream_of(wire)
    writer.write(b"".join(b"1\r\n%b\r\n" % data[n : n + 1] for n in range(len(data))) + b"0\r\n\r\n")


async def trailers(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await start(writer, wire, "Trailer: X-Sum\r\n")
    await send(writer, stream_of(wire))
    writer.write(b"0\r\nX-Sum: abc\r\nSet-Cookie: a=b\r\n\r\n")


async def more_after_the_end(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await streamed(writer, wire, stream_of(wire) + piece(wire, "too late"))


async def an_error_after_the_end(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await streamed(writer, wire, stream_of(wire) + PROTOCOLS[wire.protocol].failure("too late", "server_error"))


async def two_answers_in_one(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await streamed(writer, wire, stream_of(wire) + stream_of(wire))


async def less_than_no_tokens(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await streamed(writer, wire, replaced(wire, b"77777", b"-1"))


async def more_tokens_than_there_are(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await streamed(writer, wire, replaced(wire, b"77777", b"9" * 40))


async def thousands_of_unknown_events(writer: asyncio.StreamWriter, wire: Wire) -> None:
    odd = framed(wire, b'{"oddEvent":{"x":[1]}}' if wire.protocol == "converse" else b'{"type":"odd","odd":{"x":[1]}}')
    events = events_of(wire, ANSWER, None)
    await streamed(writer, wire, events[0] + odd * 5000 + b"".join(events[1:]))


async def blank_events_between(writer: asyncio.StreamWriter, wire: Wire) -> None:
    kinds = {"converse": framed(wire, b'{"pingEvent":{}}'), "ollama": b"\n"}
    blank = kinds.get(wire.protocol) or framed(wire, b"")
    events = events_of(wire, ANSWER, None)
    await streamed(writer, wire, blank + blank.join(events) + blank)


async def ten_thousand_words_at_once(writer: asyncio.StreamWriter, wire: Wire) -> None:
    said = AssistantMessage((Text("so " * 10_000),), "p/m")
    await streamed(writer, wire, b"".join(events_of(wire, said, 3)))
