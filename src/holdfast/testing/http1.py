"""As much HTTP/1.1 as a scripted server needs, with nothing between a fault and the socket.

A parser that turns bytes into requests, and a connection that plays a list of steps: bytes to send, seconds to
wait, or an end (reset, close, silence). It is not a web server: no routing, no TLS, no compression of its own.

Invariants: requests of one connection are answered one after another, in their order; what a client sends
ahead, and the size of a head and of a body, are bounded; a peer that goes away ends the answer it was given.
"""

from __future__ import annotations

import array
import asyncio
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import cast, final

import msgspec

from holdfast.flow.clock import Clock

__all__ = ("BadRequest", "Connection", "End", "HttpRequest", "RequestParser", "Step")

if sys.platform == "linux":
    import fcntl

_MAX_HEAD = 64 * 1024
_UNSENT = 0x894B  # SIOCOUTQNSD
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close() sends RST


class End(Enum):
    """How a connection stops in the middle of an answer."""

    RESET = "reset"
    """TCP RST."""
    CLOSE = "close"
    """TCP FIN."""
    SILENCE = "silence"
    """Nothing more, with the connection open."""


Step = bytes | float | End
"""Send these bytes, wait so many seconds, or end."""


class HttpRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One request, whole."""

    method: str
    target: str
    """Path and query, as sent."""
    headers: dict[str, str]
    """Names in lower case; of a repeated header the last one."""
    body: bytes
    keep_alive: bool
    chunks: bool
    """Whether the client understands a chunked answer (HTTP/1.1)."""


class BadRequest(Exception):
    """What came in is not an HTTP request this server takes."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Head(msgspec.Struct, frozen=True, gc=False):
    method: str
    target: str
    version: str
    headers: dict[str, str]

    def body_length(self) -> int | None:
        coding = self.headers.get("transfer-encoding", "").strip().lower()
        if coding:
            if coding != "chunked":
                raise BadRequest(501, f"transfer encoding {coding!r} is not supported: send chunked or a length")
            return None
        length = self.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit() and len(length) < 16):
            raise BadRequest(400, f"content-length {length!r} is not a number")
        return int(length)


@final
class RequestParser:
    """Cuts a stream of bytes into requests."""

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._buffer = bytearray()
        self._head: _Head | None = None
        self._need = 0
        self._pieces: list[bytes] | None = None
        self._size = 0

    @property
    def buffered(self) -> int:
        """Bytes that came and belong to no request yet."""
        return len(self._buffer)

    @property
    def wants_continue(self) -> bool:
        """Whether the client waits for `100 Continue` before it sends the body; True once per request."""
        if self._head is None or self._head.headers.get("expect", "").lower() != "100-continue":
            return False
        self._head.headers["expect"] = "sent"
        return True

    def feed(self, data: bytes) -> None:
        """Takes what came from the socket."""
        self._buffer += data

    def take(self) -> HttpRequest | None:
        """Returns the next request that is whole, or None.

        Raises:
            BadRequest: there will never be one; the connection is of no more use.
        """
        head = self._head or self._parse_head()
        if head is None:
            return None
        body = self._take_body() if self._pieces is None else self._take_chunks(self._pieces)
        if body is None:
            return None
        self._head = None
        wish = head.headers.get("connection", "").lower()
        return HttpRequest(
            method=head.method,
            target=head.target,
            headers=head.headers,
            body=body,
            keep_alive="close" not in wish if head.version == "HTTP/1.1" else "keep-alive" in wish,
            chunks=head.version == "HTTP/1.1",
        )

    def _parse_head(self) -> _Head | None:
        end = self._buffer.find(b"\r\n\r\n", 0, _MAX_HEAD + 4)
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise BadRequest(431, f"the request's head is longer than {_MAX_HEAD} bytes")
            return None
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        words = lines[0].split(" ")
        printable = lines[0].isascii() and lines[0].isprintable()
        if not printable or len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
            raise BadRequest(400, f"{lines[0][:80]!r} is not the first line of an HTTP/1.1 request")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise BadRequest(400, f"{line[:80]!r} is not a header")
            headers[name.lower()] = value.strip()
        head = self._head = _Head(words[0], words[1], words[2], headers)
        length = head.body_length()
        self._need, self._pieces, self._size = length or 0, [] if length is None else None, 0
        self._check_size(self._need)
        return head

    def _check_size(self, size: int) -> None:
        if size > self._max_body:
            raise BadRequest(413, f"the request's body is longer than {self._max_body} bytes")

    def _take_body(self) -> bytes | None:
        if len(self._buffer) < self._need:
            return None
        body = bytes(self._buffer[: self._need])
        del self._buffer[: self._need]
        return body

    def _take_chunks(self, pieces: list[bytes]) -> bytes | None:
        while True:
            end = self._buffer.find(b"\r\n", 0, 1024)
            if end < 0:
                if len(self._buffer) > 1024:
                    raise BadRequest(400, "a chunk does not begin with its length")
                return None
            digits = bytes(self._buffer[:end]).partition(b";")[0].strip()
            if not digits or len(digits) > 15 or digits.strip(b"0123456789abcdefABCDEF"):
                raise BadRequest(400, f"{digits[:40]!r} is not the length of a chunk")
            length = int(digits, 16)
            self._check_size(self._size + length)
            if len(self._buffer) < end + 2 + length + 2:
                return None
            if not self._buffer.startswith(b"\r\n", end + 2 + length):
                raise BadRequest(400, "a chunk is longer than it says, or trailers follow the last one")
            if length:
                pieces.append(bytes(self._buffer[end + 2 : end + 2 + length]))
            self._size += length
            del self._buffer[: end + 4 + length]
            if not length:
                return b"".join(pieces)


AnswerWith = Callable[[HttpRequest], "Sequence[Step] | Awaitable[Sequence[Step]]"]
"""Says how a request is answered. Must not raise."""
RefuseWith = Callable[[BadRequest], bytes]
"""Says what a client that does not speak HTTP is told."""


@final
class Connection(asyncio.Protocol):
    """One client."""

    def __init__(
        self, answer: AnswerWith, refuse: RefuseWith, *, clock: Clock, max_body: int, peers: set[Connection]
    ) -> None:
        self._answer = answer
        self._refuse = refuse
        self._clock = clock
        self._max_body = max_body
        self._peers = peers
        self._parser = RequestParser(max_body)
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins to listen to the client."""
        # A cast, not an assertion: uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the answer under way, if there is one."""
        self._transport = None
        self._peers.discard(self)
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """Stops answering until the client has read what it was sent."""
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Goes on answering."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None
        if self._task is None:
            self._serve()

    def data_received(self, data: bytes) -> None:
        """Takes what the client sent and answers what is whole."""
        self._parser.feed(data)
        if self._task is None and self._writable is None:
            self._serve()
        elif self._parser.buffered > self._max_body:
            self.abort()

    def abort(self) -> None:
        """Closes the connection with a TCP reset."""
        if self._transport is not None:
            _reset(self._transport)

    def _serve(self) -> None:
        transport = self._transport
        while transport is not None and not transport.is_closing() and self._writable is None:
            try:
                request = self._parser.take()
            except BadRequest as error:
                transport.write(self._refuse(error))
                transport.close()
                return
            if request is None:
                if self._parser.wants_continue:
                    transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            steps = self._answer(request)
            if isinstance(steps, Sequence) and len(steps) == 1 and isinstance(steps[0], bytes):
                transport.write(steps[0])
                if not request.keep_alive:
                    transport.close()
            else:
                self._task = asyncio.get_running_loop().create_task(self._play(transport, request, steps))
                return

    async def _play(
        self, transport: asyncio.Transport, request: HttpRequest, steps: Sequence[Step] | Awaitable[Sequence[Step]]
    ) -> None:
        for step in steps if isinstance(steps, Sequence) else await steps:
            if isinstance(step, bytes):
                transport.write(step)
                if self._writable is not None:
                    await self._writable
            elif isinstance(step, End):
                await self._end(transport, step)
            else:
                await self._clock.sleep(step)
        if not request.keep_alive:
            transport.close()
        self._task = None
        self._serve()

    async def _end(self, transport: asyncio.Transport, end: End) -> None:
        if end is not End.SILENCE:
            transport.set_write_buffer_limits(0)
            if self._writable is not None:
                await self._writable
            await _sent(transport)
            _reset(transport) if end is End.RESET else transport.close()
        await asyncio.get_running_loop().create_future()  # `connection_lost` cancels this task


async def _sent(transport: asyncio.Transport) -> None:
    """Returns when the kernel has sent what it was given: a reset would throw the rest away."""
    peer: socket.socket | None = transport.get_extra_info("socket")
    if peer is None or sys.platform != "linux":
        return
    unsent = array.array("i", [1])
    while not transport.is_closing():
        fcntl.ioctl(peer.fileno(), _UNSENT, unsent)
        if not unsent[0]:
            return
        await asyncio.sleep(0.001)  # nothing tells when: the kernel can only be asked


def _reset(transport: asyncio.Transport) -> None:
    peer: socket.socket | None = transport.get_extra_info("socket")
    if peer is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
