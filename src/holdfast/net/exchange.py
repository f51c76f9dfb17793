"""One exchange: a request that is sent when it is entered, and its answer as it comes in.

An exchange is entered once. Leaving it gives the connection back when the body was read to its end, and drops it
otherwise. What is handed out is bytes after decompression, bounded in sum: the library unpacks a bounded piece at a
time and stops reading while nobody takes, so a small body that unpacks into a huge one costs no memory.

The library connects, keeps connections, and parses answers. Its request objects, with a task to write each body, are
left out: they cost as much as the whole exchange, and a request that is bytes already needs none of what they do.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from types import MappingProxyType, TracebackType
from typing import Final, final

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader

from holdfast.errors import AnswerTooLarge, ProtocolError
from holdfast.net.failures import CAUGHT, translated
from holdfast.net.hops import REDIRECTS, Hop, head_of, next_hop, origin_of
from holdfast.net.pooling import Pools, Reading

__all__ = ("Exchange",)

_REPEATABLE: Final = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
"""Sent once more when the connection breaks before the answer, as kept ones do (RFC 9110, 9.2.2)."""
_MOST_BEFORE: Final = 100
"""How many answers that only say that one will come (1xx) are waited through."""
_SENT_AT_ONCE: Final = 64 * 1024
_READ_AT_ONCE: Final = 64 * 1024
"""Bytes asked of the kernel at once. The event loop's own 256 KiB are so many that each read maps memory anew and gives
it back."""
_NOT_WAITING: Final = float("-inf")
_UNPACKS: Final = aiohttp.ClientRequest.DEFAULT_HEADERS[hdrs.ACCEPT_ENCODING]
"""What the library can unpack."""


@final
class Exchange(Reading):
    """A request and its answer: `async with client.post(...) as answer: async for data in answer: ...`."""

    quiet = 0.0
    status = 0
    """The HTTP status."""
    headers: Mapping[str, str] = MappingProxyType({})
    """The answer's headers; names match in any case."""
    _content: StreamReader | None = None

    def __init__(self, pools: Pools, hop: Hop, redirects: int) -> None:
        self._pools = pools
        self._hop = hop
        self._redirects = redirects
        self._left = pools.settings.body_limit

    def __aenter__(self) -> Coroutine[None, None, Exchange]:
        """Sends the request, follows as many redirects as were allowed, and returns with the headers there.

        Raises:
            NetError: there is no answer; the subclass says why.
        """
        return self._follow() if self._redirects else self._send()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the connection back, or drops it when the body was not read to its end."""
        self._leave()

    @property
    def url(self) -> str:
        """The URL that answered: the last one, where redirects were followed."""
        return str(self._hop.url)

    @property
    def ended(self) -> bool:
        """Whether the whole body has come in and been handed out."""
        return self._content is not None and self._content.at_eof()

    def __aiter__(self) -> Exchange:
        """Returns itself: the body as it comes in, once."""
        return self

    async def __anext__(self) -> bytes:
        """Returns what came in since the last call, waiting until there is something.

        Raises:
            NetError: the body broke off, went silent, is no HTTP, or is over the limit.
        """
        self.quiet = 0.0
        try:
            data = await self._reader.readany()
        except CAUGHT as error:
            raise translated(error, origin_of(self._hop.url)) from None
        self.quiet = _NOT_WAITING
        if not data:
            raise StopAsyncIteration
        self._left -= len(data)
        if self._left < 0:
            raise self._too_large(self._pools.settings.body_limit)
        return data

    async def body(self, limit: int | None = None) -> bytes:
        """Returns what is left of the body; `limit` bounds it more tightly than the client does, in bytes.

        Raises:
            NetError: see `__anext__`.
        """
        pieces: list[bytes] = []
        size = 0
        async for data in self:
            size += len(data)
            if limit is not None and size > limit:
                raise self._too_large(limit)
            pieces.append(data)
        return b"".join(pieces)

    def drop(self, error: Exception) -> None:
        """Gives the connection up; whoever reads from it gets the error."""
        if self._content is None:
            self._protocol.set_exception(error)
        elif not self._content.is_eof() and self._content.exception() is None:
            self._content.set_exception(error)
        self._connection.close()

    def _too_large(self, limit: int) -> AnswerTooLarge:
        origin = origin_of(self._hop.url)
        return AnswerTooLarge(f"the answer of {origin!r} is over {limit} bytes; ask for less or raise the limit")

    async def _send(self) -> Exchange:
        try:
            try:
                await self._attempt()
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as broken:
                if self._hop.method not in _REPEATABLE or isinstance(broken, aiohttp.ClientConnectorError):
                    raise
                await self._attempt()
        except CAUGHT as error:
            raise translated(error, origin_of(self._hop.url)) from None
        return self

    async def _attempt(self) -> None:
        """Writes the request to a connection and returns with the answer's headers there."""
        hop = self._hop
        head = head_of(hop, _UNPACKS)
        pool = self._pool = self._pools.current() or await self._pools.open()
        if not pool.enter():
            await pool.turn()
        connection = None
        try:
            connection = self._connection = await pool.connect(hop.url)
            protocol = connection.protocol
            if protocol is None or (transport := protocol.transport) is None:
                raise aiohttp.ServerDisconnectedError
            if getattr(transport, "max_size", 0) > _READ_AT_ONCE:
                transport.max_size = _READ_AT_ONCE  # pyright: ignore[reportAttributeAccessIssue]
            self._protocol, self._content = protocol, None
            self.quiet = 0.0  # silence counts from here: also of one that does not take the body
            pool.join(self)
            protocol.set_response_params(skip_payload=hop.method == "HEAD", read_until_eof=True)
            body = hop.body or b""
            if len(body) <= _SENT_AT_ONCE:
                transport.write(head + body)
            else:
                transport.write(head)
                transport.write(body)
            message, content = await protocol.read()
            if message.code < 200:
                message, content = await _behind(protocol, message, content)
        except BaseException:
            pool.leave(self)
            if connection is not None:
                connection.close()
            raise
        self.quiet = _NOT_WAITING
        self._content = self._reader = content
        self.status, self.headers = message.code, message.headers

    def _leave(self) -> None:
        self._pool.leave(self)
        connection, transport = self._connection, self._protocol.transport
        if transport is None or transport.get_write_buffer_size():
            connection.close()  # it answered before it had the whole request
        else:
            connection.release()  # which closes it unless the answer has ended

    async def _follow(self) -> Exchange:
        await self._send()
        for _ in range(self._redirects):
            location = self.headers.get("Location")
            if self.status not in REDIRECTS or location is None:
                return self
            self._leave()
            self._hop = next_hop(self._hop, self.status, location)
            await self._send()
        if self.status not in REDIRECTS:
            return self
        self._leave()
        message = f"{origin_of(self._hop.url)!r} redirects more than {self._redirects} times; ask for the final URL"
        raise ProtocolError(message)


async def _behind(
    protocol: ResponseHandler, message: RawResponseMessage, content: StreamReader
) -> tuple[RawResponseMessage, StreamReader]:
    """Returns the answer behind one that only says that it will come; 101 is an answer."""
    before = 0
    while message.code < 200 and message.code != 101:
        before += 1
        if before > _MOST_BEFORE:
            raise HttpProcessingError(code=message.code, message=f"{before} answers before the answer")
        message, content = await protocol.read()
    return message, content
