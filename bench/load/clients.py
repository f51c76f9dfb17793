"""Thousands of clients in one process: raw sockets that read streams, and count what is wrong with them.

    python -m bench.load.clients '{"port": 8700, "active": 2000, "idle": 10000}'

It says when all are connected. Each line on standard input is a command then, answered with a line: `go` has every
active session prompted, and again whenever it has answered; `figures` tells what was seen since the last; `end` ends.
How late a delta is, is the time its bytes were read less the time it says.
"""

import asyncio
import json
import os
import resource
import sys
import time
from array import array
from typing import Any, NamedTuple, cast

import uvloop

from .pacing import LETTERS

BUCKET = 20e-6
"""Seconds."""
BUCKETS = 250_000
CONNECTING = 200
"""Clients that connect at once."""
ASKING = 8
"""Connections over which prompts are sent."""
ASKED = "What time is it?"
NICE = 10

_TEXT = b'event: text.delta\ndata: {"type":"text.delta","text":"'
_ID = b"id: "
_FINISHED = b"event: model.finished\n"
_OVER = b"event: run.finished\n"


class Seen:
    """What all clients saw."""

    def __init__(self) -> None:
        self.buckets = array("I", bytes(4 * BUCKETS))
        self.count = self.total = 0
        self.most = 0.0
        self.events = self.answers = self.beats = self.resets = self.lagged = self.ended = 0
        self.gap = 0.0
        """The longest silence of an idle stream, in seconds."""
        self.wrong: list[str] = []
        self.quiet: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
        """Sessions that wait for a prompt, and whether they are still to be made."""
        self.turns = 0
        """Answers after which a client leaves its session and begins another; 0 for never."""

    def late(self, seconds: float) -> None:
        """A delta was read so long after it was made."""
        self.count += 1
        self.most = max(self.most, seconds)
        self.buckets[min(BUCKETS - 1, int(seconds / BUCKET))] += 1

    def quantile(self, part: float) -> float:
        """The time below which so many of the deltas came, in ms."""
        left = part * self.count
        for number, count in enumerate(self.buckets):
            left -= count
            if left <= 0:
                return round((number + 1) * BUCKET * 1000, 3)
        return 0.0

    def figures(self) -> dict[str, Any]:
        """What was seen since the last time; counts of what may be wrong go on."""
        told = {
            "deltas": self.count,
            **{
                name: self.quantile(part) for name, part in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999))
            },
            "max": round(self.most * 1000, 3),
            "events": self.events,
            "answers": self.answers,
            "beats": self.beats,
            "resets": self.resets,
            "lagged": self.lagged,
            "ended": self.ended,
            "silence": round(self.gap, 2),
            "wrong": self.wrong[:20],
            "wrongs": len(self.wrong),
            "total": self.total,
            "client_cpu": time.process_time(),
        }
        self.buckets = array("I", bytes(4 * BUCKETS))
        self.count, self.most, self.gap = 0, 0.0, 0.0
        return told


class Stream(asyncio.Protocol):
    """One client of one stream."""

    def __init__(self, request: bytes, name: str, seen: Seen, *, idle: bool) -> None:
        self._request, self._name, self._seen, self._idle = request, name, seen, idle
        self._held = b""
        self._in_head = True
        self._text: list[str] = []
        self._last = 0
        self._spoke = 0.0
        self._answers = 0
        self._left = False
        self.opened = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the stream."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server ended it; or this client did, which counts for nothing."""
        if self._left:
            return
        self._seen.ended += 1
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionError("closed"))

    def data_received(self, data: bytes) -> None:
        """Takes apart what came, chunk by chunk."""
        now = time.monotonic()
        if self._idle and self._spoke:
            self._seen.gap = max(self._seen.gap, now - self._spoke)
        self._spoke = now
        if self._held:
            data = self._held + data
        if self._in_head:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._held = data
                return
            if not data.startswith(b"HTTP/1.1 200"):
                self._seen.wrong.append(f"{self._name}: {data[:60]!r}")
            self._in_head = False
            data = data[end + 4 :]
            if not self.opened.done():
                self.opened.set_result(None)
        at = 0
        while (line := data.find(b"\r\n", at)) >= 0:
            size = int(data[at:line], 16)
            end = line + 2 + size
            if len(data) < end + 2:
                break
            self._piece(data[line + 2 : end], now)
            at = end + 2
        self._held = data[at:]

    def _piece(self, piece: bytes, now: float) -> None:
        """Reads frames: pieces of our server hold whole ones."""
        seen = self._seen
        for frame in piece.split(b"\n\n"):
            if frame.startswith(_TEXT):
                text = frame[len(_TEXT) : frame.rindex(b'"')].decode()
                self._text.append(text)
                seen.total += 1
                if len(text) == LETTERS:
                    seen.late(now - float(text))
            elif frame.startswith(_ID):
                self._event(frame)
            elif frame.startswith(b":"):
                seen.beats += 1
            elif frame:
                self._word(frame)

    def _word(self, frame: bytes) -> None:
        seen = self._seen
        if b"event: reset\n" in frame:
            seen.resets += 1
            self._text.clear()
        elif b"event: lagged\n" in frame:
            seen.lagged += 1
        elif b"event: end\n" not in frame:
            seen.wrong.append(f"{self._name}: unknown {frame[:80]!r}")

    def _event(self, frame: bytes) -> None:
        seen = self._seen
        seen.events += 1
        line = frame.find(b"\n")
        number = int(frame[len(_ID) : line])
        if number != self._last + 1:
            seen.wrong.append(f"{self._name}: event {number} after {self._last}")
        self._last = number
        if frame.startswith(_FINISHED, line + 1):
            seen.answers += 1
            message = json.loads(frame[frame.index(b"data: ") + 6 :])["data"]["message"]
            told = "".join(part["text"] for part in message["parts"])
            heard = "".join(self._text)
            if heard != told and (heard or not seen.turns):  # in a new session it can be over before it is listened to
                seen.wrong.append(f"{self._name}: heard {len(heard)} letters of {len(told)}")
            self._text.clear()
        elif frame.startswith(_OVER, line + 1):
            self._answers += 1
            if self._answers == seen.turns:
                self._left = True
                self._transport.close()
                name, _, number = self._name.partition(".")
                seen.quiet.put_nowait((f"{name}.{int(number or 0) + 1}", True))
            else:
                seen.quiet.put_nowait((self._name, False))


async def ask(told: "Told", seen: Seen) -> None:
    """Prompts sessions that wait for it, one after another; follows those that it has made."""
    while True:
        name, new = await seen.quiet.get()
        body = json.dumps({"name": name, "prompt": {"text": ASKED}} if new else {"text": ASKED}).encode()
        head = (
            f"POST /v1/sessions{'' if new else f'/{name}/prompts'} HTTP/1.1\r\nHost: 127.0.0.1:{told.port}\r\n"
            f"Connection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", told.port)
            writer.write(head.encode() + body)
            answer = await reader.read()
            writer.close()
            if not answer.startswith(b"HTTP/1.1 20"):
                seen.wrong.append(f"{name}: prompt {answer[:300]!r}")
            elif new:
                await follow(told, name, seen)
        except OSError as error:
            seen.wrong.append(f"{name}: {error!r}")


async def follow(told: "Told", name: str, seen: Seen, *, idle: bool = False) -> None:
    """Opens a stream. Clients come from several addresses, so that there are ports enough."""
    request = f"GET /v1/sessions/{name}/events HTTP/1.1\r\nHost: 127.0.0.1:{told.port}\r\n\r\n".encode()
    _, stream = await asyncio.get_running_loop().create_connection(
        lambda: Stream(request, name, seen, idle=idle),
        "127.0.0.1",
        told.port,
        local_addr=(f"127.0.0.{2 + hash(name) % 16}", 0),
    )
    await stream.opened


class Told(NamedTuple):
    """What the clients are to do."""

    port: int
    active: int
    """Streams of sessions that are prompted: `a0`, `a1` and so on."""
    idle: int
    """Streams of sessions that nothing happens in: `i0`, `i1` and so on."""
    turns: int = 0


async def main(told: Told) -> None:
    """Connects, and answers until there are no more commands."""
    seen, commands, room = Seen(), asyncio.StreamReader(), asyncio.Semaphore(CONNECTING)
    seen.turns = told.turns
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)

    async def one(name: str, *, idle: bool) -> None:
        async with room:
            await follow(told, name, seen, idle=idle)

    async with asyncio.TaskGroup() as group:
        for number in range(told.active):
            group.create_task(one(f"a{number}", idle=False))
        for number in range(told.idle):
            group.create_task(one(f"i{number}", idle=True))
    asking = [asyncio.create_task(ask(told, seen)) for _ in range(ASKING)]
    print(json.dumps({"ready": True}), flush=True)
    while (command := (await commands.readline()).strip()) not in (b"", b"end"):
        if command == b"go":
            for number in range(told.active):
                seen.quiet.put_nowait((f"a{number}", False))
        print(json.dumps(seen.figures()), flush=True)
    for each in asking:
        each.cancel()


if __name__ == "__main__":
    os.nice(NICE)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(main(Told(**json.loads(sys.argv[1]))))
