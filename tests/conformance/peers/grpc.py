"""The peer of the grpc transport: a real gRPC server, with a method for each behaviour."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any, ClassVar, Self

import pytest
from tests.conformance.peers.serving import contract_answer

from holdfast.testing.conformance.transports.peer import TOKEN, Behaviour, Peer, Traits
from holdfast.tools.transports.grpc import Grpc
from holdfast.tools.transports.port import Transport

__all__ = ("Forwarder", "GrpcPeer", "GrpcServer")

Answer = Callable[[str, bytes, Any], Awaitable[bytes]]


class GrpcServer:
    """A gRPC server on loopback that answers every method alike; in a loop of its own, whose tasks are none of the
    caller's. Its `cut` ends the connections to `far`, as a program does that is gone.
    """

    def __init__(self, answer: Answer, *, key: bytes = b"", certificate: bytes = b"") -> None:
        self._answer = answer
        self._tls = [(key, certificate)] if key else []
        self._up: Future[None] = Future()
        self._thread = Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.port = 0
        self.far = 0

    async def __aenter__(self) -> Self:
        pytest.importorskip("grpc")
        self._thread.start()
        await asyncio.wrap_future(self._up)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        await asyncio.to_thread(self._thread.join)

    def cut(self) -> None:
        """In the loop of the server."""
        self._forwarder.cut()

    def cut_soon(self) -> None:
        """From any other thread."""
        self._loop.call_soon_threadsafe(self.cut)

    @property
    def connections(self) -> int:
        return self._forwarder.connections

    async def _serve(self) -> None:
        import grpc
        from grpc import aio

        answer = self._answer

        class Every(grpc.GenericRpcHandler):
            def service(self, handler_call_details: Any) -> Any:
                method = handler_call_details.method

                async def one(body: bytes, context: Any) -> bytes:
                    return await answer(method, body, context)

                return grpc.unary_unary_rpc_method_handler(one)

        server = aio.server(options=[("grpc.max_send_message_length", -1)])
        server.add_generic_rpc_handlers((Every(),))
        where = "127.0.0.1:0"
        if self._tls:
            self.port = server.add_secure_port(where, grpc.ssl_server_credentials(self._tls))
        else:
            self.port = server.add_insecure_port(where)
        await server.start()
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with Forwarder(self.port) as self._forwarder:
            self.far = self._forwarder.port
            self._up.set_result(None)
            await self._over.wait()
        await server.stop(0)


class Forwarder:
    """Passes bytes on to a port, until it is told to cut every connection."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.port = 0
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: Any = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        inner_reader, inner = await asyncio.open_connection("127.0.0.1", self._to)
        self._open |= {writer, inner}
        try:
            await asyncio.gather(_passed(reader, inner), _passed(inner_reader, writer))
        finally:
            for each in (writer, inner):
                self._open.discard(each)
                each.transport.abort()


async def _passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.transport.abort()


class GrpcPeer(Peer):
    traits: ClassVar[Traits] = Traits()

    def __init__(self) -> None:
        self._server = GrpcServer(self._answered)
        self._busy: list[str] = []
        self._reached = 0
        self._transports: list[Grpc] = []

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self._transports:
            await each.close()
        await self._server.__aexit__()

    @property
    def reached(self) -> int:
        return self._reached

    def left(self) -> list[str]:
        return list(self._busy)

    def transport(self, behaviour: Behaviour) -> Transport:
        port = {"absent": 1, "dies": self._server.far}.get(behaviour, self._server.port)
        method = f"/kit.{behaviour.replace(':', '.')}/Execute"
        self._transports.append(Grpc(f"grpc://127.0.0.1:{port}", private=True, method=method))
        return self._transports[-1]

    async def _answered(self, method: str, body: bytes, context: Any) -> bytes:
        from grpc import StatusCode

        behaviour = method.split("/")[1].removeprefix("kit.").replace(".", ":")
        metadata = dict(context.invocation_metadata())
        assert metadata["x-tool-contract-version"] == "v1"
        self._reached += 1
        self._busy.append(behaviour)
        try:
            match behaviour:
                case "sleeps":
                    await asyncio.Event().wait()
                case "dies":
                    self._server.cut()
                    await asyncio.Event().wait()
                case "floods":
                    return b"x" * (4 * 1024 * 1024)
                case "refuses" if metadata.get("authorization") != f"Bearer {TOKEN}":
                    await context.abort(StatusCode.UNAUTHENTICATED, f"not with {metadata.get('authorization')}")
                case _:
                    pass
            return contract_answer(behaviour, json.loads(body))
        finally:
            self._busy.remove(behaviour)
