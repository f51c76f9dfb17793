"""Connections to a port that a process listens on, and a port of ours that leads there.

The socket may have been made inside a sandbox, and somebody in there may hold it, too: whoever does can make it one
that waits. So no call here relies on that: each says by itself that it does not wait, and what comes is only bytes.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import final

from holdfast.errors import SandboxError

__all__ = ("Connection", "Forward", "stream_of")

_AT_ONCE = 1 << 16
_MOST = 64
"""Connections through one forwarded port at the same time."""


def stream_of(descriptor: int) -> socket.socket:
    """Returns the stream of a network that a descriptor from a sandbox is; the descriptor is taken over.

    Raises:
        SandboxError: it is something else.
    """
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOTSOCK, "no socket")
        found = socket.socket(fileno=descriptor)
    except OSError as error:
        os.close(descriptor)
        raise SandboxError(f"the sandbox gave out no connection ({error.strerror}): make a new one") from error
    kind = found.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
    if kind != socket.SOCK_STREAM or found.family not in (socket.AF_INET, socket.AF_INET6):
        found.close()
        raise SandboxError("the sandbox gave out no connection but another kind of socket: make a new one")
    found.setblocking(False)
    return found


@final
class Connection:
    """A stream of bytes to and from a port."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._loop = asyncio.get_running_loop()

    async def ready(self) -> None:
        """Returns when it is connected.

        Raises:
            OSError: nobody listens there.
        """
        await self._until(writable=True)
        if code := self._end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))

    async def receive(self, most: int = _AT_ONCE) -> bytes:
        """Returns what came, at least a byte; nothing when the other side sends no more.

        Raises:
            OSError: it is broken.
        """
        while True:
            with suppress(BlockingIOError):
                return self._end.recv(most, socket.MSG_DONTWAIT)
            await self._until(writable=False)

    async def send(self, data: bytes) -> None:
        """Sends all of it.

        Raises:
            OSError: it is broken.
        """
        left = memoryview(data)
        while left:
            try:
                left = left[self._end.send(left, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                await self._until(writable=True)

    def finish(self) -> None:
        """Sends no more; what comes can still be received."""
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Ends it; a second call does nothing."""
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)  # whoever else holds it has nothing of it, and who waits is told
        self._end.close()

    async def _until(self, *, writable: bool) -> None:
        if self._end.fileno() < 0:
            raise OSError(errno.EBADF, "the connection was closed")
        with socket.socket(fileno=os.dup(self._end.fileno())) as own:  # a number of its own: each waits for one thing
            done: asyncio.Future[None] = self._loop.create_future()
            watch = self._loop.add_writer if writable else self._loop.add_reader
            forget = self._loop.remove_writer if writable else self._loop.remove_reader
            watch(own, _resolve, done)
            try:
                await done
            finally:
                forget(own)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@final
class Forward:
    """A port of our loopback that leads to another one."""

    def __init__(self, dial: Callable[[], Awaitable[Connection]]) -> None:
        self._dial = dial
        self._server: asyncio.Server | None = None
        self._going: set[asyncio.Task[None]] = set()
        self.port = 0
        """Ours, on 127.0.0.1."""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when nobody is led on any more."""

    @classmethod
    async def open(cls, dial: Callable[[], Awaitable[Connection]]) -> Forward:
        """Listens on a free port."""
        forward = cls(dial)
        server = forward._server = await asyncio.start_server(forward._serve, "127.0.0.1", 0)
        forward.port = server.sockets[0].getsockname()[1]
        return forward

    def close(self) -> None:
        """Listens no more and ends every connection; a second call does nothing."""
        if self._server is not None:
            self._server.close()
        for each in self._going:
            each.cancel()
        _resolve(self.closed)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self.closed.done() or len(self._going) >= _MOST:
            writer.close()
            return
        self._going.add(task)
        try:
            connection = await self._dial()
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_in(reader, connection))
                    both.create_task(_out(connection, writer))
            finally:
                connection.close()
        except (OSError, SandboxError, TimeoutError, ExceptionGroup):
            pass  # whoever connected sees that it ends
        except asyncio.CancelledError:
            pass  # by `close`; the server would report it
        finally:
            self._going.discard(task)
            writer.close()


async def _in(reader: asyncio.StreamReader, connection: Connection) -> None:
    while data := await reader.read(_AT_ONCE):
        await connection.send(data)
    connection.finish()


async def _out(connection: Connection, writer: asyncio.StreamWriter) -> None:
    while data := await connection.receive():
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
