"""A real server on a loopback address, as raw as a test wants it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ("Request", "Server", "answer", "read_request", "serving")


@dataclass
class Request:
    """One request as it came over the wire."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """What a running server saw."""

    host: str
    port: int = 0
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client went away in the middle of an answer."""

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


Handler = Callable[[Request, asyncio.StreamWriter, Server], Awaitable[None]]


def answer(body: bytes = b"ok", status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    """Returns the bytes of an answer; `length` may lie."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + body


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Returns the next request of a connection, None at its end."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    line, *rest = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest if each)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(line, headers, body)


async def _plain(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
    writer.write(answer())


@asynccontextmanager
async def serving(
    handler: Handler = _plain, *, host: str = "127.0.0.1", port: int = 0, reads: bool = True, greeting: bytes = b""
) -> AsyncGenerator[Server]:
    """Runs a server while the block does; `reads=False` accepts connections and reads nothing; a greeting
    is sent before anybody asked."""
    server = Server(host)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.connections += 1
        try:
            writer.write(greeting)
            if not reads:
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                await asyncio.Event().wait()
            while (request := await read_request(reader)) is not None:
                server.requests.append(request)
                await handler(request, writer, server)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            server.left.set()
            writer.close()

    listener = await asyncio.start_server(connected, host, port)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
