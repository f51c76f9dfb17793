"""What the fan-out costs at least: the same pace, the same deltas and as many streams, with nothing behind them.

    python -m bench.load.floor '{"kind": "starlette", "active": 2000, "idle": 10000, "rate": 20000}'

`starlette` is a plain application: a queue for each stream, read by a `StreamingResponse`, over uvicorn with uvloop and
httptools. `socket` writes a delta's bytes straight to the connection: nearly all of it is the system's.
It is driven as `served` is, but for the prompts.
"""

import asyncio
import gc
import json
import sys
from collections.abc import AsyncGenerator
from typing import Any

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from .commanding import commanded
from .pacing import Pace, stamp

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def frame(word: str) -> bytes:
    """A delta, as Holdfast says it."""
    return b'event: text.delta\ndata: {"type":"text.delta","text":"%s"}\n\n' % word.encode()


class Queues:
    """Streams of a plain application."""

    def __init__(self) -> None:
        self.queues: dict[str, asyncio.Queue[bytes]] = {}

    def say(self, name: str, said: bytes) -> None:
        """Hands a delta to whoever reads a session."""
        self.queues[name].put_nowait(said)

    async def listen(self) -> int:
        """Begins to serve, and returns its port."""

        async def events(request: Request) -> StreamingResponse:
            queue = self.queues[request.path_params["name"]] = asyncio.Queue()

            async def pieces() -> AsyncGenerator[bytes, None]:
                yield b": here\n\n"
                while True:
                    yield await queue.get()

            return StreamingResponse(pieces(), media_type="text/event-stream")

        routes = [Route("/v1/sessions/{name}/events", events)]
        config = uvicorn.Config(
            Starlette(routes=routes), port=0, log_level="warning", lifespan="off", loop="uvloop", http="httptools"
        )
        server = uvicorn.Server(config)
        self._task = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        return int(server.servers[0].sockets[0].getsockname()[1])


class Raw(asyncio.Protocol):
    """One connection of the other floor."""

    def __init__(self, sockets: "Sockets") -> None:
        self._sockets = sockets
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """It asks for a stream."""
        self._held += data
        if b"\r\n\r\n" not in self._held:
            return
        self._sockets.transports[self._held.split(b"/")[3].decode()] = self._transport
        self._transport.write(HEAD)


class Sockets:
    """Streams that are nothing but connections."""

    def __init__(self) -> None:
        self.transports: dict[str, Any] = {}

    def say(self, name: str, said: bytes) -> None:
        """Writes a delta to whoever reads a session."""
        self.transports[name].write(b"%x\r\n%s\r\n" % (len(said), said))

    async def listen(self) -> int:
        """Begins to serve, and returns its port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Raw(self), "127.0.0.1", 0, backlog=2048)
        return int(self._server.sockets[0].getsockname()[1])


async def main(told: dict[str, Any]) -> None:
    """Serves until it is told to end; every session that is active talks without an end."""
    pace = Pace(told["rate"])
    streams = Queues() if told["kind"] == "starlette" else Sockets()
    port = await streams.listen()

    async def talk(name: str) -> None:
        while True:
            await pace.turn()
            streams.say(name, frame(stamp()))

    def begin() -> None:
        talks.extend(asyncio.create_task(talk(f"a{number}")) for number in range(told["active"]))

    talks: list[asyncio.Task[None]] = []
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    await commanded(port, pace, begin)


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
