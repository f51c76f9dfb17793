"""The server of the wires' yardstick: answers that were rendered before, written as fast as they go.

The first two words of a path say what is played and in which protocol: `/stream1000/chat/...`. `stream1000` is a text,
`tool-step` and `signed` a call; the others are what the soak needs (`soak.py`): answers that end well, whole or
streamed, that break, that say an error, refusals, and one that begins and never goes on. `/connections` tells how many
connections there are. What is sent it does not look at.

Run as `python -m bench.wires.server [PORT]`; port 0 takes a free one. The first line it prints is `{"port": N}`.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from functools import cache
from typing import cast

import uvloop

from holdfast.models.wire.served import ServedRequest
from holdfast.testing.protocols import PROTOCOLS, Spoken
from holdfast.types import AssistantMessage, CallId, Text, ToolCall, Usage

from ..floor.model_server import request_end
from .script import CALL, MODEL, PIECE, TEXT, TOKEN, USAGE

__all__ = ("SOAKED",)

SOAKED_TEXT = TEXT[: 40 * TOKEN]
PROTOCOL = {"bedrock": "converse"}
"""How a wire's protocol is called there, where it is not called as the wire is."""
ASKED = ServedRequest(model=MODEL, messages=(), stream=True)


def said(text: str, *, called: bool) -> AssistantMessage:
    """An answer."""
    call = ToolCall(CallId(CALL.id), CALL.name, CALL.arguments)
    parts = (*((Text(text),) if text else ()), *((call,) if called else ()))
    return AssistantMessage(parts, f"any/{MODEL}", "tool_calls" if called else "stop", Usage(*USAGE))


def head(status: bytes, media: str, length: int, more: bytes = b"") -> bytes:
    """The head of an HTTP response."""
    return b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n" % (status, media.encode(), length, more)


def ok(spoken: Spoken, data: bytes, length: int | None = None) -> bytes:
    """A streamed answer; a `length` beyond the data is a promise that is not held."""
    return head(b"200 OK", spoken.media, len(data) if length is None else length) + data


def soaked(spoken: Spoken) -> list[bytes]:
    """The events of an answer with words and a call."""
    return spoken.stream(said(SOAKED_TEXT, called=True), ASKED, TOKEN, "soak")


def half(spoken: Spoken) -> bytes:
    """The first half of that answer."""
    events = soaked(spoken)
    return b"".join(events[: len(events) // 2])


def refused(spoken: Spoken) -> bytes:
    """A refusal for too many requests; all is well again at once."""
    body = spoken.error(429, "too many requests", "", None)
    return head(b"429 Too Many Requests", "application/json", len(body), b"retry-after-ms: 1\r\n") + body


def whole(spoken: Spoken) -> bytes:
    """An answer that is not streamed."""
    body = spoken.answer(said(SOAKED_TEXT, called=True), "soak")
    return head(b"200 OK", "application/json", len(body)) + body


def page(spoken: Spoken) -> bytes:
    """What a proxy says in place of an answer."""
    return head(b"200 OK", "text/html", 27) + b"<html>proxy page</html>    "


SOAKED: dict[str, Callable[[Spoken], bytes]] = {
    "clean": lambda spoken: ok(spoken, b"".join(soaked(spoken))),
    "whole": whole,
    "error": lambda spoken: ok(spoken, half(spoken) + spoken.failure("the server failed", "")),
    "garbage": lambda spoken: ok(spoken, half(spoken) + spoken.framed(b'{"no')),
    "short": lambda spoken: ok(spoken, half(spoken)),
    "page": page,
    "refused": refused,
    "cut": lambda spoken: ok(spoken, half(spoken), 1_000_000),
    "open": lambda spoken: ok(spoken, half(spoken), 1_000_000),
}
"""What the soak is answered; after `cut` the connection is closed, after `open` nothing more comes."""


@cache
def answer(case: str, wire: str) -> bytes:
    """The whole HTTP response."""
    spoken = PROTOCOLS[PROTOCOL.get(wire, wire)]
    if case in SOAKED:
        return SOAKED[case](spoken)
    message = said(TEXT, called=False) if case == "stream1000" else said("", called=True)
    chunk = TOKEN if case == "stream1000" else PIECE
    return ok(spoken, b"".join(spoken.stream(message, ASKED, chunk, "bench")))


def connections() -> bytes:
    """How many connections there are, that of the asker among them."""
    body = json.dumps({"open": Connection.open}).encode()
    return head(b"200 OK", "application/json", len(body)) + body


class Connection(asyncio.Protocol):
    """One keep-alive connection: an answer for each request, in order."""

    open = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport, self.buf = cast("asyncio.Transport", transport), bytearray()
        Connection.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it out."""
        Connection.open -= 1

    def data_received(self, data: bytes) -> None:
        """Answer every request that is now complete."""
        buf = self.buf
        buf += data
        while (request := request_end(buf)) is not None:
            _, case, wire = (bytes(buf[: buf.find(b" HTTP")]).decode() + "/").split("/")[:3]
            del buf[: request[1]]
            self.transport.write(connections() if case == "connections" else answer(case, wire))
            if case == "cut":
                self.transport.close()


async def main(port: int) -> None:
    """Serve on the loopback until ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", port, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
