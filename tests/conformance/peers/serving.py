"""A tool over HTTP on loopback that behaves as its address says, down to the bytes of its connection."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Self

from tests.loopback import Request, answer, read_request

from holdfast.testing.conformance.transports.peer import FAILURE, FLOOD, TOKEN
from holdfast.tools.transports.port import Transport

__all__ = ("HttpTool", "Reply", "contract_answer", "lie")

Reply = Callable[[str, Request], Awaitable[bytes] | bytes]
"""Says what a request for a behaviour is answered with."""
_PIECE = b"x" * 65_536


class HttpTool:
    """The server that the peers over HTTP share; `well` answers what is no matter of the connection."""

    def __init__(self, well: Callable[[str, Request], bytes]) -> None:
        self._well = well
        self._server: asyncio.Server | None = None
        self._busy: list[str] = []
        self._connections: set[asyncio.Task[None]] = set()
        self.made: list[Transport] = []
        self._reached = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        for each in self.made:
            await each.close()
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def reached(self) -> int:
        return self._reached

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{1 if behaviour == 'absent' else self.port}/{behaviour}"

    def made_of(self, transport: Transport) -> Transport:
        """Returns a transport, to be closed with the peer."""
        self.made.append(transport)
        return transport

    def left(self) -> list[str]:
        return list(self._busy)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: Any = asyncio.current_task()
        self._connections.add(task)
        try:
            while (request := await read_request(reader)) is not None:
                behaviour = request.line.split()[1].split("/")[1]
                self._busy.append(request.line)
                try:
                    await self._answer(behaviour, request, reader, writer)
                finally:
                    self._busy.remove(request.line)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(
        self, behaviour: str, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if request.line.startswith("POST"):
            self._reached += 1
        match behaviour:
            case "sleeps":
                await reader.read()  # until the caller leaves
                raise ConnectionResetError
            case "floods":
                writer.write(answer(length=FLOOD, body=b""))
                for _ in range(FLOOD // len(_PIECE)):
                    writer.write(_PIECE)
                    await writer.drain()
            case "dies":
                writer.write(answer(b'{"half": ', length=1000))
                await writer.drain()
                peer: socket.socket = writer.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() resets
                writer.transport.abort()
                raise ConnectionResetError
            case "refuses" if request.headers.get("authorization") != f"Bearer {TOKEN}":
                said = f"not with {request.headers.get('authorization')}".encode()
                writer.write(answer(said, "401 Unauthorized"))
            case _:
                writer.write(self._well(behaviour, request))
        await writer.drain()


def contract_answer(behaviour: str, asked: dict[str, Any]) -> bytes:
    """Returns the answer by the contract of a tool that behaves so."""
    said: dict[str, Any] = {"tool_contract_version": "v1", "request_id": asked["request_id"], "status": "ok"}
    if behaviour.startswith("lies"):
        return lie(behaviour, said)
    if behaviour == "fails":
        said |= {"status": "error", "error": {"code": "execution_failed", "message": FAILURE}}
    else:
        said["output"] = {"result": asked["input"]["text"]}
    return json.dumps(said).encode()


def lie(behaviour: str, said: dict[str, Any]) -> bytes:
    """Returns an answer with one thing wrong."""
    match behaviour:
        case "lies:version":
            said["tool_contract_version"] = "v2"
        case "lies:request_id":
            said["request_id"] = "another"
        case "lies:status":
            said["status"] = "success"
        case "lies:garbage":
            return b"\xff\xfe\x00 no answer"
        case _:
            return b""
    return json.dumps(said).encode()
