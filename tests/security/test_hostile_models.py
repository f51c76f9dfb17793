"""Servers that answer with anything but an answer: one clear class of error each, bounded memory, and no waiting."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.loopback import Request, Server, serving

from holdfast.errors import AuthFailed, ConnectionFailed, Malformed, ModelError, ModelTimeout, Overloaded
from holdfast.models.port import ModelRequest
from holdfast.models.providers.finding import find_model
from holdfast.net.client import HttpClient
from holdfast.net.settings import NetSettings
from holdfast.safety.addresses import TRUSTED
from holdfast.types import AssistantMessage, Text, UserMessage

PATIENCE = 20.0
"""Seconds in which each of them has to be over, on a slow machine."""
MOST = 160
"""MB that reading any of them may need."""


class Wire(NamedTuple):
    """How a server of one protocol is reached, and what a piece of its answers looks like."""

    model: str
    url_variable: str
    key_variable: str
    url: str
    piece: Callable[[str], bytes]
    """One event of the stream that says some words."""
    kind: str = "text/event-stream"


def _chat(words: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % words.encode()


def _messages(words: str) -> bytes:
    begin = b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
    delta = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}' % words.encode()
    return begin + b"data: " + delta + b"\n\n"


WIRES = {
    "chat": Wire("openai/m", "OPENAI_BASE_URL", "OPENAI_API_KEY", "{}/v1", _chat),
    "messages": Wire("anthropic/m", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "{}", _messages),
}


async def _whole(writer: asyncio.StreamWriter, status: str, kind: str, body: bytes, more: str = "") -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


async def _start(writer: asyncio.StreamWriter, kind: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    await writer.drain()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))
    await writer.drain()


async def an_html_page(writer: asyncio.StreamWriter, wire: Wire) -> None:
    page = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"
    await _whole(writer, "200 OK", "text/html", page)


async def an_html_error(writer: asyncio.StreamWriter, wire: Wire) -> None:
    page = b"<html><body><h1>503 Service Unavailable</h1><script>steal()</script></body></html>"
    await _whole(writer, "503 Service Unavailable", "text/html", page)


async def a_gzip_bomb(writer: asyncio.StreamWriter, wire: Wire) -> None:
    bomb = gzip.compress(bytes(1 << 20), 9) * 600  # six hundred members of a megabyte
    await _whole(writer, "200 OK", wire.kind, bomb, "Content-Encoding: gzip\r\n")


async def an_event_of_50_mb(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await _start(writer, wire.kind)
    await _send(writer, wire.piece("x" * 100)[:-20])
    for _ in range(50):
        await _send(writer, b"x" * (1 << 20))
    await asyncio.sleep(PATIENCE)


async def an_endless_model(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await _start(writer, wire.kind)
    piece = wire.piece("and so on, " * 3000)
    while True:
        await _send(writer, piece)


async def bytes_that_are_no_text(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await _start(writer, wire.kind)
    await _send(writer, wire.piece("words").replace(b"words", b"w\xff\xfe\x80s"))
    await _send(writer, wire.piece("more"))
    await asyncio.sleep(PATIENCE)


async def a_socket_half_closed(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await _start(writer, wire.kind)
    await _send(writer, wire.piece("only this"))
    writer.write_eof()
    await asyncio.sleep(PATIENCE)


async def a_silent_one(writer: asyncio.StreamWriter, wire: Wire) -> None:
    await _start(writer, wire.kind)
    await _send(writer, wire.piece("only this"))
    await asyncio.sleep(PATIENCE)


async def a_key_refused_in_html(writer: asyncio.StreamWriter, wire: Wire) -> None:
    page = b"<html><body>Forbidden</body></html>"
    await _whole(writer, "403 Forbidden", "text/html", page)


EXPECTED: dict[Callable[[asyncio.StreamWriter, Wire], Awaitable[None]], type[ModelError]] = {
    an_html_page: Malformed,
    an_html_error: Overloaded,
    a_key_refused_in_html: AuthFailed,
    a_gzip_bomb: Malformed,
    an_event_of_50_mb: Malformed,
    an_endless_model: Malformed,
    bytes_that_are_no_text: Malformed,
    a_socket_half_closed: ConnectionFailed,
    a_silent_one: ModelTimeout,
}


@pytest.mark.requirement("models:hostile-answers")
@pytest.mark.parametrize("attack", EXPECTED, ids=lambda each: each.__name__)
@pytest.mark.parametrize("name", WIRES)
async def test_what_is_no_answer_is_one_clear_error_soon_and_in_little_memory(
    name: str, attack: Callable[[asyncio.StreamWriter, Wire], Awaitable[None]]
) -> None:
    wire = WIRES[name]

    async def hostile(_: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        try:
            await attack(writer, wire)
        except ConnectionError:
            server.left.set()

    async with serving(hostile) as server:
        env = {wire.url_variable: wire.url.format(server.url), wire.key_variable: "secret-key-of-mine"}
        silence = 0.5 if attack is a_silent_one else PATIENCE
        client = HttpClient(TRUSTED, NetSettings(silence_timeout=silence))
        try:
            model = find_model(wire.model, client, env)
            before = _new_peak()
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(ModelError) as caught:
                    await _read(model.stream(_request()))
            added = _peak() - before
        finally:
            await client.close()
    assert isinstance(caught.value, EXPECTED[attack]), repr(caught.value)
    said = str(caught.value)
    assert wire.model in said
    assert "secret-key-of-mine" not in said
    assert "steal()" not in said
    assert len(said) < 1000
    assert added < MOST


async def _read(stream: AsyncIterator[object]) -> AssistantMessage:
    last: object = None
    async for item in stream:
        last = item
    assert isinstance(last, AssistantMessage)
    return last


def _new_peak() -> int:
    """Forgets what was needed before, and returns what is needed now, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """Returns the most memory that this process has had, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def _request() -> ModelRequest:
    return ModelRequest(instructions="", messages=[UserMessage((Text("go"),))])
