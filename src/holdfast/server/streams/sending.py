"""Sends answers: whole ones at once, and streams piece by piece, with a heartbeat, as long as somebody listens.

A stream ends when its pieces do, when its client is gone, when the client takes nothing for too long, or when the
server is stopped; in each case its iterator is closed before this returns. Silences and stalls of all streams are
watched by one task: ten thousand idle ones have no timer each.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import final

from starlette.types import Receive, Send

from holdfast.errors import HoldfastError
from holdfast.server.access.principal import Principal
from holdfast.server.parts import Bounds, Service
from holdfast.server.problems import Refused, problem_of
from holdfast.server.streams.port import Stream

__all__ = ("PUSH", "Emit", "Pulse", "place_for", "pump_stream", "send_stream", "send_whole")

PUSH = "holdfast.push"
"""Where a connection puts into the scope of a request how to send a piece of its answer: at once, or not at all. What
stands between it and the application does not see such a piece.
"""
Push = Callable[[bytes], bool]
"""Sends a piece if that takes no waiting, and says whether it did."""
Emit = Callable[[bytes, bool], Awaitable[None]]
"""Sends a piece, and whether more will come."""

_STREAM_HEADERS = {"cache-control": "no-cache", "connection": "keep-alive", "x-accel-buffering": "no"}
_LOOKS = 10
"""Looks at all streams in the time of one heartbeat."""
_BEATS = 16
"""Streams that are looked at before others have their turn."""
_REST = 1 - 2 / _LOOKS
"""The part of a heartbeat after which a look finds a stream silent: the next look would be too late."""


async def send_whole(
    body: bytes,
    media_type: str,
    status: int,
    headers: Mapping[str, str],
    cookies: Sequence[str],
    send: Send,
    *,
    bodiless: bool = False,
) -> None:
    """Sends an answer; without its body for HEAD."""
    told = {**headers, **({"content-type": media_type} if media_type else {})}
    if status not in (204, 304):
        told["content-length"] = str(len(body))
    await send({"type": "http.response.start", "status": status, "headers": _encoded(told, cookies)})
    await send({"type": "http.response.body", "body": b"" if bodiless else body})


async def send_stream(
    stream: Stream,
    status: int,
    headers: Mapping[str, str],
    service: Service,
    receive: Receive,
    send: Send,
    who: Principal | None = None,
    push: Push | None = None,
) -> None:
    """Sends a stream to its end, or until nobody takes it any more.

    Raises:
        Refused: there are as many as there may be at once, of whoever asks or of all; nothing was sent.
    """
    told = {**_STREAM_HEADERS, "content-type": stream.media_type, **headers}

    def emit(piece: bytes, more: bool) -> Awaitable[None]:
        return send({"type": "http.response.body", "body": piece, "more_body": more})

    with await place_for(stream, service, who):
        await send({"type": "http.response.start", "status": status, "headers": _encoded(told, ())})
        await pump_stream(stream, emit, service, receive, "http.disconnect", push)


async def place_for(stream: Stream, service: Service, who: Principal | None) -> contextlib.ExitStack:
    """Takes a place for a stream among those that are sent at once; it is given back when what this returns is left.

    Raises:
        Refused: there is none; the stream is closed.
    """
    pulse, bounds = _pulse(service), service.bounds
    key = ("", "", "") if who is None else (who.tenant, who.user, who.id if who.how == "key" else "")
    mine = pulse.places.get(key, 0)
    if mine >= bounds.streams_each or pulse.places.total() >= bounds.streams:
        await stream.pieces.aclose()
        later = {"retry-after": "5"}
        if mine >= bounds.streams_each:
            raise Refused(429, "too_many_streams", f"{mine} streams are open with this: close some", headers=later)
        raise Refused(503, "too_many_streams", "this process has no room for another stream", headers=later)
    pulse.places[key] += 1
    leaving = contextlib.ExitStack()
    leaving.callback(pulse.leave_place, key)
    return leaving


def _pulse(service: Service) -> Pulse:
    return service.parts.get(Pulse) or service.parts.setdefault(Pulse, Pulse(service))


async def pump_stream(
    stream: Stream, emit: Emit, service: Service, receive: Receive, gone: str, push: Push | None = None
) -> None:
    """Hands every piece of a stream to `emit`, and at its end nothing and that it is over, until a message of type
    `gone` says that nobody listens; a client that takes nothing for too long is left. What takes the stream's shortcut
    goes to `push`.
    """
    pulse = _pulse(service)
    sending = _Sending(stream, emit, push)
    if push is not None and stream.shortcut is not None:
        stream.shortcut.push = sending.push
    service.observer.streams(1)
    pump = asyncio.create_task(sending.pump())
    pump.add_done_callback(sending.pumped)
    pulse.watch(sending, pump)
    try:
        while (await receive())["type"] != gone:
            pass  # what a client still sends is nothing to a stream
    except asyncio.CancelledError:
        if not sending.broken:
            raise
        # Returning before the end was sent lets go of its connection.
        asyncio.current_task().uncancel()  # type: ignore[union-attr] - this runs in one
    finally:
        pulse.leave(sending)
        if stream.shortcut is not None:
            stream.shortcut.push = None
        service.observer.streams(-1)
        sending.ending = True
        pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pump


@final
class _Sending:
    """One stream on its way out."""

    __slots__ = ("_emit", "_push", "_task", "_time", "broken", "busy", "ending", "last", "looked", "stream")

    def __init__(self, stream: Stream, emit: Emit, push: Push | None) -> None:
        self.stream = stream
        self._emit = emit
        self._push = push
        self._task = asyncio.current_task()
        self._time = asyncio.get_running_loop().time  # to ask which loop runs is a call of the system's
        self.last = self._time()
        """When something was sent, or began to be."""
        self.looked = self.last
        """When it was asked last whether whoever listens still may."""
        self.busy = 0
        """Pieces that are being sent: then the client has not taken all yet."""
        self.broken = False
        """Whether it is left without an end: its client takes nothing, or it cannot be gone on with."""
        self.ending = False
        """Whether somebody sees to its end."""

    async def pump(self) -> None:
        """Sends every piece, and the end."""
        try:
            async with contextlib.aclosing(self.stream.pieces) as pieces:
                emit, time = self._emit, self._time
                async for piece in pieces:  # as `send` does, without a coroutine more for each
                    if not self.busy:
                        self.last = time()
                    self.busy += 1
                    try:
                        await emit(piece, True)
                    finally:
                        self.busy -= 1
        except HoldfastError as error:
            await self.send(self.stream.failed(problem_of(error)))
        except Refused as refused:
            await self.send(self.stream.failed(refused))
        await self.send(b"", more=False)
        self.ending = True

    async def send(self, piece: bytes, *, more: bool = True) -> None:
        """Sends one piece; waits as long as the client has too much of them to take."""
        if not self.busy:
            self.last = self._time()
        self.busy += 1
        try:
            await self._emit(piece, more)
        finally:
            self.busy -= 1

    def push(self, piece: bytes) -> bool:
        """Sends one piece if that takes no waiting, and says whether it did."""
        if self.busy or self._push is None or not self._push(piece):
            return False
        self.last = self._time()
        return True

    def leave(self) -> None:
        """Lets go of the client's connection, with no word more."""
        if not self.broken and self._task is not None:
            self.broken = True
            self._task.cancel()

    def pumped(self, _: asyncio.Task[None]) -> None:
        """Leaves the client where what there was to send broke off: else it would be told for ever that all is well."""
        if not self.ending:
            self.leave()

    async def end(self, pump: asyncio.Task[None], refused: Refused | None = None) -> None:
        """Ends it as the server ends, or as whoever listens may no longer."""
        if self.ending:
            return
        self.ending = True
        pump.cancel()
        await asyncio.wait((pump,))
        if self.busy:  # not even a heartbeat was taken
            self.leave()
            return
        await self.send(self.stream.farewell() if refused is None else self.stream.failed(refused))
        await self.send(b"", more=False)

    async def look(self, pump: asyncio.Task[None]) -> None:
        """Ends it where whoever listens may no longer."""
        if self.stream.still is not None and (refused := await self.stream.still()) and not pump.done():
            await self.end(pump, refused)


@final
class Pulse:
    """Watches the silences and stalls of all streams of a server."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._watched: dict[_Sending, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._beats: set[asyncio.Task[None]] = set()
        self.places: Counter[tuple[str, str, str]] = Counter()
        """How many are sent at once, by whom they are for."""

    def leave_place(self, key: tuple[str, str, str]) -> None:
        """One of somebody's is over."""
        self.places[key] -= 1
        if not self.places[key]:
            del self.places[key]

    def watch(self, sending: _Sending, pump: asyncio.Task[None]) -> None:
        """Begins to watch a stream."""
        self._watched[sending] = pump
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def leave(self, sending: _Sending) -> None:
        """Watches it no longer."""
        self._watched.pop(sending, None)

    async def _run(self) -> None:
        """Looks at all again and again, while there are any, and ends them when the server is stopped."""
        closing, looking = asyncio.create_task(self._service.closing.wait()), None
        try:
            while self._watched and not closing.done():
                looking = asyncio.create_task(self._look())
                await asyncio.wait((closing, looking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (closing, looking):
                if each is not None:
                    each.cancel()
        for sending, pump in list(self._watched.items()):
            self._do(sending.end(pump))

    async def _look(self) -> None:
        """Looks at all once. It takes its time: heartbeats that are sent all at once hold up those who have something
        to say.
        """
        bounds, time, watched = self._service.bounds, asyncio.get_running_loop().time, list(self._watched)
        every, begun, at = bounds.heartbeat / _LOOKS, time(), 0
        while at < len(watched):
            await asyncio.sleep(every * _BEATS / max(_BEATS, len(watched)))
            now = time()
            upto = max(at + _BEATS, int(len(watched) * (now - begun) / every))  # more at once where it is late
            for sending in watched[at:upto]:
                if sending in self._watched:
                    self._beat(sending, now, bounds)
            at = upto

    def _beat(self, sending: _Sending, now: float, bounds: Bounds) -> None:
        if now - sending.looked > bounds.heartbeat * (1 - 1 / _LOOKS) and (pump := self._watched.get(sending)):
            sending.looked = now
            self._do(sending.look(pump))
        silent = now - sending.last
        if sending.busy:
            if silent > bounds.stall:
                sending.leave()
        elif (beat := sending.stream.beat) and silent > bounds.heartbeat * _REST and not sending.push(beat):
            self._do(sending.send(beat))

    def _do(self, what: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(what)
        self._beats.add(task)
        task.add_done_callback(self._beats.discard)


def _encoded(headers: Mapping[str, str], cookies: Sequence[str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()] + [
        (b"set-cookie", each.encode("latin-1")) for each in cookies
    ]
