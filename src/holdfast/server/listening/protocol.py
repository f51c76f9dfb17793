"""HTTP/1.1 as it is spoken here: uvicorn's protocol, with what a client may not do to the others.

At each moment a connection owes something: a whole head, the rest of a body, taking what it is sent, or the next
request. `due` says until when, and whoever looks after all connections shows out who is late. What cannot be read as
HTTP is answered once, with a problem, and only where no other answer is on its way: bytes of one answer never stand
in another.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any, cast, final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from holdfast.flow.ids import new_key
from holdfast.server.listening.doorkeeping import Doorkeeper
from holdfast.server.problems import PROBLEM, Refused
from holdfast.server.streams.sending import PUSH

__all__ = ("Kept", "Speaking", "Talking")

_DRAINED = 64 * 1024 * 1024
"""Bytes of a body that nobody wants any more, which are still read so that the answer arrives."""


class Kept(ServerState):
    """What all connections of a server share."""

    doorkeeper: Doorkeeper


@final
class _Parting:
    """A transport that is closed only when the client has had the chance to read its answer.

    A client that still sends a body nobody wants is not listening. Closed at once, its system would throw the answer
    away with the connection.
    """

    __slots__ = ("_speaking", "get_extra_info", "pause_reading", "real", "resume_reading", "write")

    def __init__(self, real: asyncio.Transport, speaking: Speaking) -> None:
        self.real = real
        self._speaking: Speaking | None = speaking
        self.write = real.write
        self.get_extra_info = real.get_extra_info
        self.pause_reading = real.pause_reading
        self.resume_reading = real.resume_reading

    def is_closing(self) -> bool:
        return self._speaking is None or self._speaking.parting or self.real.is_closing()

    def close(self) -> None:
        if self._speaking is not None:
            self._speaking.part()

    def lost(self) -> None:
        """Lets go of the connection, which would else keep itself until somebody looks for garbage."""
        self._speaking = None


@final
class _Way:
    """How pieces of one answer are sent at once, as long as it is under way."""

    __slots__ = ("speaking",)

    def __init__(self, speaking: Speaking) -> None:
        self.speaking: Speaking | None = speaking

    def __call__(self, piece: bytes) -> bool:
        return self.speaking is not None and self.speaking.push(piece)


class _Unwanted(Exception):
    """Ends the parsing of what a client sends."""


class Speaking(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.keeper = cast(Kept, server_state).doorkeeper
        self.due = inf
        self._real: asyncio.Transport
        self._parting: _Parting
        self._running: RequestResponseCycle | None = None
        """The request that is being answered; `cycle` is the one that was read last."""
        self._way: _Way | None = None
        """To push pieces of that answer."""
        self._refusal: Refused | None = None
        """Why nothing more is read."""
        self._deaf = False
        """Whether what comes is thrown away."""
        self.parting = False
        """Whether nothing more is sent."""
        self._in_head = True
        self._head = self._lines = self._line = 0
        self._unread = False
        """Whether a part of the last request is still to come."""
        self._began = 0.0
        self._taken = 0
        """Bytes of the body that came so far."""
        self._stalled: float | None = None
        """What was due before the client stopped to take what it is sent."""

    # ---- connections ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Lets a client in, or not."""
        self._real = transport
        self._parting = _Parting(transport, self)
        super().connection_made(cast(asyncio.Transport, self._parting))
        admitted = self.keeper.enter(self, self.client[0] if self.client else "")
        self.due = self.loop.time() + self.keeper.caps.head_seconds
        if admitted is None:
            transport.abort()
        elif not admitted:
            self._refusal = Refused(
                503,
                "too_many_connections",
                "too many connections are open: close some, or come back later",
                headers={"retry-after": "5"},
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells everybody who answers this client that it is gone."""
        self.keeper.leave(self)
        waiting = [cycle for cycle, _ in self.pipeline]
        self.pipeline.clear()
        for cycle in (self._running, *waiting):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)
        self._bar()
        self._running = None
        self._parting.lost()

    def overdue(self) -> None:
        """Shows the client out."""
        now, answered = self.loop.time(), self._running is None or self._running.response_complete
        if self.flow.read_paused and self._stalled is None and not self.parting:
            self._began = now - self._taken / self.keeper.caps.body_rate
            self.due = now + self.keeper.caps.body_seconds  # we are slow, not the client
            return
        self.due = inf
        if self.parting or self._stalled is not None or (answered and not self._in_head):
            self._real.abort()
        elif self._in_head and self._head == 0 and not self._lines:
            self._real.close()  # it never said anything, or nothing more
        else:
            what = "head" if self._in_head else "body"
            self._refuse(Refused(408, "too_slow", f"the {what} of this request came too slowly: send it at once"))

    def eof_received(self) -> None:
        """Hears that nothing more will come."""

    def pause_writing(self) -> None:
        """Begins to wait for a client that does not take what it is sent."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled, self.due = self.due, self.loop.time() + self.keeper.caps.stall_seconds

    def resume_writing(self) -> None:
        """Goes on with a client that takes what it is sent again."""
        super().resume_writing()
        if self._stalled is not None:
            self.due, self._stalled = self._stalled, None

    def push(self, piece: bytes) -> bool:
        """Sends a piece of the answer under way, unless it would have to wait; returns whether it did."""
        cycle = self._running
        if cycle is None or cycle.disconnected or self.flow.write_paused:
            return False
        if not (cycle.response_started and cycle.chunked_encoding):
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return True

    def shutdown(self) -> None:
        """Ends the connection, after the answer that is under way."""
        if self._running is None or self._running.response_complete:
            self._real.close()
        else:
            self._running.keep_alive = False

    def drop(self) -> None:
        """Ends the connection at once; whoever has no answer yet is told to ask again."""
        running = self._running
        if running is not None and not running.response_started:
            self._deaf, self._unread = True, False
            self._break_off(running, Refused(503, "closing", "this process was stopped: ask again"))
        elif not self.parting and not self._real.is_closing():
            self._real.abort()

    def abort(self) -> None:
        """Ends the connection without a word."""
        self._real.abort()

    def part(self) -> None:
        """Closes the connection, once the client has stopped sending, or does not."""
        if self.parting or self._real.is_closing():
            return
        if not self._unread or not self._real.can_write_eof():
            self._real.close()
            return
        self.parting = self._deaf = True
        self.due = self.loop.time() + self.keeper.caps.parting_seconds
        self._stalled = None
        self._real.write_eof()
        self.flow.resume_reading()

    # ---- what comes in ----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Reads what a client sends."""
        self._unset_keepalive_if_required()
        if self._deaf:
            self._throw_away(len(data))
            return
        if self._refusal is not None:
            self._refuse(self._refusal)
            return
        if self.due == inf and self._in_head:  # the first bytes after a silence
            self.due = self.loop.time() + self.keeper.caps.head_seconds
        if self._in_head:
            self._head += len(data)
        try:
            cast(Any, self.parser).feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgrade()
        except httptools.HttpParserError:
            self._refuse(self._refusal or Refused(400, "bad_request", "this is no HTTP/1.1: send a valid request"))
        else:
            caps = self.keeper.caps
            if self._in_head and self._head - self._line > caps.head_bytes:
                self._refuse(_too_long(caps.head_bytes))

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = self._unread = True
        self._line = self._lines = self._taken = 0
        self._head = max(self._head, 1)

    def on_url(self, url: bytes) -> None:
        """A part of its path and query."""
        self._line += len(url)
        if self._line > self.keeper.caps.line_bytes:
            self._stop(Refused(414, "uri_too_long", f"a path may have {self.keeper.caps.line_bytes:,} bytes"))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; what follows a body is none, and is passed over."""
        caps = self.keeper.caps
        self._lines += 1
        if self._lines > caps.headers:
            self._stop(_too_many(caps.headers))
        if not self._in_head:
            return
        self._taken += len(name) + len(value)
        if self._taken > caps.head_bytes:
            self._stop(_too_long(caps.head_bytes))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if len(self.pipeline) >= self.keeper.caps.pipelined:
            self._stop(Refused(429, "pipeline_full", "wait for answers before you send more requests"))
        self._in_head, self._head, self._lines, self._taken = False, 0, 0, 0
        self._began = self.loop.time()
        self._due(self._began + self.keeper.caps.body_seconds)
        before = self.cycle
        super().on_headers_complete()
        if self.pipeline:
            self.flow.resume_reading()  # few wait; and whoever reads notices when the client is gone
        if self.keeper.closing and self.cycle is not before:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        caps = self.keeper.caps
        self._taken += len(body)
        self._due(self._began + caps.body_seconds + self._taken / caps.body_rate)
        most = _DRAINED if self.cycle.response_complete else caps.body_bytes
        if self._taken > most:
            self._stop(Refused(413, "body_too_large", f"a body may have {most:,} bytes"))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._unread, self._in_head = False, True
        self._due(inf)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is sent: the next request's turn."""
        self._bar()
        if self.parting:
            return
        super().on_response_complete()
        if self._unread and self._running is self.cycle:  # nobody reads its body any more
            self._due(self.loop.time() + self.keeper.caps.parting_seconds)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        cast(dict[str, Any], cycle.scope)[PUSH] = self._way = _Way(self)
        super()._start_asgi_task(cycle, app)

    def _bar(self) -> None:
        """Nothing can be pushed any more; and the connection does not keep itself."""
        if self._way is not None:
            self._way.speaking = self._way = None

    # ---- what does not ----------------------------------------------------------------------------------

    def _due(self, when: float) -> None:
        if self._stalled is None:
            self.due = when
        else:
            self._stalled = when

    def _stop(self, refusal: Refused) -> None:
        self._refusal = refusal
        raise _Unwanted

    def _throw_away(self, size: int) -> None:
        self._taken += size
        if self._taken > _DRAINED:
            self._real.abort()

    def _refuse(self, refusal: Refused) -> None:
        """Answers what is no request, unless an answer is under way: then that one is the last."""
        self._deaf = True
        self.pipeline.clear()
        self.flow.resume_reading()
        running = self._running
        if running is not None and not running.response_complete:
            running.keep_alive = False
            self.due = inf
            if self._unread and not self._in_head and running is self.cycle:
                self._break_off(running, refusal)
            return
        if not self._in_head:  # its answer was sent long ago
            self._real.abort()
            return
        self._real.write(_answer(refusal, self.server_state.default_headers))
        self._unread = True
        self.part()

    def _break_off(self, running: RequestResponseCycle, refusal: Refused) -> None:
        """Ends a request whose body does not come, or is not to be read."""
        if running.response_started:
            self._real.abort()
            return
        self._real.write(_answer(refusal, self.server_state.default_headers))
        running.response_started = running.response_complete = running.disconnected = True
        running.message_event.set()
        self.part()

    def _upgrade(self) -> None:
        if not self._should_upgrade():
            return  # its answer is one for a request without the wish
        if (self._running is not None and not self._running.response_complete) or self.pipeline:
            self._refuse(Refused(400, "bad_request", "an upgrade has to wait for the answers before it"))
            return
        self.transport = self._real
        self.handle_websocket_upgrade()
        socket = getattr(self._real, "get_protocol", lambda: None)()
        if isinstance(socket, Talking):
            self.keeper.replace(self, socket)


@final
class Talking(WebSocketsSansIOProtocol):
    """One connection as a WebSocket."""

    due = inf

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts the client out."""
        cast(Kept, self.state).doorkeeper.leave(self)
        super().connection_lost(exc)

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.state = server_state

    async def send(self, message: Any) -> None:
        """Sends what the application says; an answer in place of a socket is all that there is to say."""
        await super().send(message)
        if self.close_sent:
            self.handshake_complete = True  # or it is told as an error of the application, a line for each stranger

    def pause_writing(self) -> None:
        """Begins to wait for a client that does not take what it is sent."""
        super().pause_writing()
        self.due = self.loop.time() + cast(Kept, self.state).doorkeeper.caps.stall_seconds

    def resume_writing(self) -> None:
        """Goes on with a client that takes what it is sent again."""
        super().resume_writing()
        self.due = inf

    def overdue(self) -> None:
        """Shows the client out."""
        self.abort()

    def drop(self) -> None:
        """Ends the connection now."""
        self.shutdown()

    def abort(self) -> None:
        """Ends the connection without a word."""
        self.due = inf
        self.transport.abort()


def _too_long(most: int) -> Refused:
    return Refused(431, "headers_too_large", f"the headers of a request may have {most:,} bytes together: send less")


def _too_many(most: int) -> Refused:
    return Refused(431, "headers_too_large", f"a request may have {most} headers: send fewer")


def _answer(refusal: Refused, more: list[tuple[bytes, bytes]]) -> bytes:
    problem = refusal.problem(new_key())
    told = PROBLEM(problem)
    headers = {
        "content-type": told.media_type,
        "content-length": str(len(told.body)),
        "connection": "close",
        "x-request-id": problem.request_id,
        **refusal.headers,
    }
    lines = [f"HTTP/1.1 {refusal.status} {problem.title}".encode()]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in headers.items()]
    lines += [name + b": " + value for name, value in more]
    return b"\r\n".join(lines) + b"\r\n\r\n" + told.body
