"""Two ends of a conversation: a socket, or TLS over one, and a reader that takes heads and bodies off either.

Everything is bounded by what one read brings (64 KiB): nothing is read before what was read earlier is sent on, so a
slow side slows the other one down and no memory grows. Nothing here has a time limit; whoever waits sets one.

Invariant: a wire is closed only when nobody waits on it any more. A socket's number is given out again at once.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol, final

from holdfast.sandbox.egress.parsing.heads import Framing, bare_newline

__all__ = ("PIECE", "Broken", "Reader", "TlsWire", "TooLong", "Wire", "Wiring", "farewell")

PIECE: Final = 64 * 1024
"""Bytes taken at once."""
_LINE: Final = 1024
_TRAILERS: Final = 64
_LINGER: Final = 1.0
_LINGERED: Final = 64
"""Seconds, and pieces that are thrown away, while last words are on their way."""


class Broken(ValueError):
    """What comes over a wire ends too early, or is not what was announced."""


class TooLong(Broken):
    """A head is longer than its bound."""


class Wiring(Protocol):
    """One end of a conversation."""

    async def receive(self) -> bytes:
        """Returns what comes next, and nothing at the end.

        Raises:
            OSError: the connection broke.
        """
        ...

    async def send(self, data: bytes | bytearray) -> None:
        """Returns when the other side has room for all of it, as above."""
        ...

    async def finish(self) -> None:
        """Says that nothing more will be sent; what the other side says is still heard."""
        ...

    def close(self) -> None:
        """Gives the socket back; never waits."""
        ...


@final
class Wire(Wiring):
    """A socket."""

    __slots__ = ("_loop", "address", "socket")

    def __init__(self, connected: socket.socket, address: str = "") -> None:
        connected.setblocking(False)
        self.socket = connected
        self.address = address
        """Where it was dialled; empty for what was not."""
        self._loop = asyncio.get_running_loop()

    async def receive(self) -> bytes:
        """Returns what comes next, as the protocol says."""
        return await self._loop.sock_recv(self.socket, PIECE)

    async def send(self, data: bytes | bytearray) -> None:
        """Sends all of it, as the protocol says."""
        await self._loop.sock_sendall(self.socket, data)

    async def finish(self) -> None:
        """Ends our half."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes it."""
        self.socket.close()


@final
class TlsWire(Wiring):
    """TLS over a wire; `heard` is what came over it before anybody thought of TLS."""

    __slots__ = ("_farewell", "_in", "_out", "_sending", "_tls", "_wire")

    def __init__(self, wire: Wiring, context: ssl.SSLContext, *, host: str | None = None, heard: bytes = b"") -> None:
        self._wire = wire
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._in.write(heard)
        self._tls = context.wrap_bio(self._in, self._out, server_side=host is None, server_hostname=host)
        self._sending = asyncio.Lock()
        self._farewell = False

    async def shake_hands(self) -> None:
        """Agrees on keys, and as a client checks whose certificate that is.

        Raises:
            OSError: they do not agree (`ssl.SSLError`), or the connection broke.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._more()
            except ssl.SSLError:
                await self._flush()  # the alert that says why
                raise
            else:
                break
        await self._flush()

    async def receive(self) -> bytes:
        """Returns what comes next, as the protocol says; a connection that ends without a farewell has ended."""
        while not self._farewell:
            try:
                return self._tls.read(PIECE)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._more()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
        return await self._wire.receive()  # nobody reads it any more, but it must not lie there when we close

    async def send(self, data: bytes | bytearray) -> None:
        """Sends all of it, as the protocol says."""
        for at in range(0, len(data), PIECE):
            self._tls.write(data[at : at + PIECE])
            await self._flush()

    async def finish(self) -> None:
        """Says farewell; what the other side says after that is no longer deciphered."""
        self._farewell = True
        with suppress(ssl.SSLError, OSError):
            try:
                self._tls.unwrap()
            except ssl.SSLWantReadError:
                await self._flush()
        await self._wire.finish()

    def close(self) -> None:
        """Closes what is below."""
        self._wire.close()

    async def _more(self) -> None:
        data = await self._wire.receive()
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    async def _flush(self) -> None:
        if self._out.pending:
            async with self._sending:  # records leave in the order they were made in
                if data := self._out.read():
                    await self._wire.send(data)


@final
class Reader:
    """Takes heads, lines and bodies off a wire."""

    __slots__ = ("_held", "wire")

    def __init__(self, wire: Wiring) -> None:
        self.wire = wire
        self._held = bytearray()

    async def some(self) -> bytes:
        """Returns what comes next, and nothing at the end."""
        if self._held:
            taken = bytes(self._held)
            self._held.clear()
            return taken
        return await self.wire.receive()

    def put_back(self, data: bytes) -> None:
        """Puts back what is for somebody else."""
        self._held[:0] = data

    async def head(self, limit: int) -> bytes:
        """Returns a head with the empty line that ends it; nothing where the other side ends before it begins.

        Raises:
            TooLong: it is longer than so many bytes.
            Broken: it ends midway, or a line does not end in CRLF.
        """
        return await self._until(b"\r\n\r\n", limit)

    async def body(self, framing: Framing, sink: Callable[[bytes], Awaitable[None]]) -> None:
        """Gives the payload of a body to the sink, piece by piece.

        Raises:
            Broken: it ends too early, or its chunks are none.
        """
        if framing == "end":
            while piece := await self.some():
                await sink(piece)
        elif framing == "chunked":
            while size := _size_of(await self._until(b"\r\n", _LINE)):
                await self._counted(size, sink)
                await self._until(b"\r\n", 2)  # else the chunk is longer than it said
            await self._trailers()
        else:
            await self._counted(framing, sink)

    async def _counted(self, count: int, sink: Callable[[bytes], Awaitable[None]]) -> None:
        while count:
            data = await self.some()
            if not data:
                raise Broken("the body ends before its announced length")
            piece = data[:count]
            self.put_back(data[count:])
            count -= len(piece)
            await sink(piece)

    async def _trailers(self) -> None:
        """Passes over fields after the body: they are nobody's to rely on, and go no further."""
        for _ in range(_TRAILERS):
            if await self._until(b"\r\n", _LINE) == b"\r\n":
                return
        raise Broken("too many fields follow the body")

    async def _until(self, mark: bytes, limit: int) -> bytes:
        held = self._held
        while (at := held.find(mark, 0, limit)) < 0:
            if bare_newline(held):  # no end is to be waited for
                raise Broken("a line does not end in CRLF")
            if len(held) >= limit:
                raise TooLong(f"more than {limit} bytes come without an end")
            data = await self.wire.receive()
            if not data:
                if held:
                    raise Broken("the connection ends midway")
                return b""
            held += data
        taken = bytes(held[: at + len(mark)])
        del held[: at + len(mark)]
        return taken


async def farewell(wire: Wiring, data: bytes) -> None:
    """Sends last words and waits a moment until they were heard: closing earlier could take them back."""
    with suppress(OSError):
        async with asyncio.timeout(_LINGER):
            await wire.send(data)
            await wire.finish()
            for _ in range(_LINGERED):
                if not await wire.receive():
                    return


def _size_of(line: bytes) -> int:
    digits = line[:-2]
    if not 0 < len(digits) <= 15 or not all(each in b"0123456789abcdefABCDEF" for each in digits):
        raise Broken("the size of a chunk is no plain number")
    return int(digits, 16)
