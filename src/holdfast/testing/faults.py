"""What can go wrong between a model and its client, as values: each turns a good answer into a bad one.

A fault knows nothing of sockets. It is given the `Reply` that would have been served and returns the steps that
are played instead, so what a fault does can be read, and tested, as a list.

In a fixture a fault is a table whose `kind` is one of `reset cut hang malformed truncated unfinished stream_error
status drip empty wrong_type gzip_bomb`; the other keys are the fields of the class. Every kind also takes `times`.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Annotated

import msgspec

from holdfast.testing.http1 import End, Step
from holdfast.testing.protocols import PROTOCOLS

__all__ = (
    "Cut",
    "Drip",
    "Empty",
    "Fault",
    "GzipBomb",
    "Hang",
    "Malformed",
    "Reply",
    "Reset",
    "Status",
    "StreamError",
    "Truncated",
    "Unfinished",
    "WrongType",
    "choose_fault",
    "error_reply",
    "reply_steps",
)

Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]

StatusCode = Annotated[int, msgspec.Meta(ge=100, le=599)]


class Reply(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An answer before it is put on the wire."""

    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    events: tuple[bytes, ...] = ()
    """The body in the pieces that belong together; an answer that is not streamed has one."""
    streamed: bool = False
    """Whether it goes out in chunks, of unknown length."""
    protocol: str = "chat"
    """Which one it speaks, by its name in `protocols.py`."""

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.events)

    def head(self) -> bytes:
        """Returns status line and headers; the framing follows from `streamed`."""
        framing = ("transfer-encoding", "chunked") if self.streamed else ("content-length", str(len(self.body)))
        lines = [f"HTTP/1.1 {self.status} {_phrase(self.status)}", f"content-type: {self.content_type}"]
        lines += [f"{name}: {value}" for name, value in (framing, *self.headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def frame(self, data: bytes) -> bytes:
        """Returns a piece of the body as it goes on the wire."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self.streamed and data else data

    def end(self) -> bytes:
        """Returns what ends the body."""
        return b"0\r\n\r\n" if self.streamed else b""


def reply_steps(reply: Reply) -> list[Step]:
    """Returns the steps of an answer nothing goes wrong with: one write."""
    return [reply.head() + reply.frame(reply.body) + reply.end()]


def error_reply(
    status: int,
    message: str,
    *,
    kind: str = "",
    code: str | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    protocol: str = "chat",
) -> Reply:
    """Returns an error in the shape of its protocol; `kind` follows from the status when it is left out."""
    spoken = PROTOCOLS[protocol]
    body = spoken.error(status, message, kind, code)
    headers = (*headers, *spoken.error_headers(status, kind))
    return Reply(status=status, headers=headers, events=(body,), protocol=protocol)


class _Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """How often it happens to a turn of a run before the turn succeeds; None is always."""


class _Stop(_Fault, frozen=True, forbid_unknown_fields=True):
    after_events: Count | None = None
    """Events of the body that get through first. With neither field not even the headers do."""
    after_bytes: Count | None = None
    """Bytes of the body that get through first, framing not counted."""

    def __post_init__(self) -> None:
        if self.after_events is not None and self.after_bytes is not None:
            raise ValueError("after_events and after_bytes exclude each other: keep one")

    def begin(self, reply: Reply) -> list[Step]:
        """Returns what gets through."""
        if self.after_events is None and self.after_bytes is None:
            return []
        sent = (
            reply.body[: self.after_bytes] if self.after_events is None else b"".join(reply.events[: self.after_events])
        )
        return [reply.head() + reply.frame(sent)]


class Reset(_Stop, frozen=True, forbid_unknown_fields=True, tag="reset"):
    """The connection is reset (TCP RST)."""

    def steps(self, reply: Reply) -> list[Step]:
        """Returns what is played instead of the reply."""
        return [*self.begin(reply), End.RESET]


class Cut(_Stop, frozen=True, forbid_unknown_fields=True, tag="cut"):
    """The connection is closed (TCP FIN) before the body is whole."""

    def steps(self, reply: Reply) -> list[Step]:
        """Returns what is played instead of the reply."""
        return [*self.begin(reply), End.CLOSE]


class Hang(_Stop, frozen=True, forbid_unknown_fields=True, tag="hang"):
    """The server goes silent and keeps the connection open."""

    def steps(self, reply: Reply) -> list[Step]:
        """Returns what is played instead of the reply."""
        return [*self.begin(reply), End.SILENCE]


class Malformed(_Fault, frozen=True, forbid_unknown_fields=True, tag="malformed"):
    """One event, or the whole body when it is not streamed, is not JSON; the rest follows as it should."""

    after_events: Count = 1
    data: str = '{"choices": [{"delta": {"content": oops'
    """What stands where JSON should."""

    def steps(self, reply: Reply) -> list[Step]:
        """Returns what is played instead of the reply."""
        if not reply.streamed:
            return reply_steps(msgspec.structs.replace(reply, events=(self.data.encode(),)))
        bad = PROTOCOLS[reply.protocol].framed(self.data.encode())
        events = (*reply.events[: self.after_events], bad, *reply.events[self.after_events :])
        return reply_steps(msgspec.structs.replace(reply, events=events))


class Truncated(_Fault, frozen=True, forbid_unknown_fields=True, tag="truncated"):
    """The body breaks off inside its JSON, and HTTP calls it whole."""

    def steps(self, reply: Reply) -> list[Step]:
        """Returns what is played instead of the reply."""
        ends = PROTOCOLS[reply.protocol].ends
        whole = [event for event in reply.events if not event.startswith(ends)]
        last = whole[-1].rstrip() if whole else b""
        return reply_steps(msgspec.structs.replace(reply, events=(*whole[:-1], last[: len(last) // 2])))


class Unfinished(_Fault, frozen=True, forbid_unknown_fields=True, tag="unfinished"):
    """A stream ends in good order without stop reason, last usage and end mark; a whole answer is truncated."""

    def steps(self, reply: Reply) -> list[Step]:
        """Returns what is played instead of the reply."""
        if not reply.streamed:
            return Truncated().steps(reply)
        spoken = PROTOCOLS[reply.protocol]
        places = enumerate(reply.events)
        finish = (i for i, event in places if spoken.finishes(event) or event.startswith(spoken.ends))
        return reply_steps(msgspec.structs.replace(reply, events=reply.events[: next(finish, len(reply.events))]))


class StreamError(_Fault, frozen=True, forbid_unknown_fields=True, tag="stream_error"):
    """A stream says in its middle that the server cannot go on; an answer that is not streamed is a 529."""

    after_events: Count = 2
    """Events that get through first."""
    type: str = "overloaded_error"
    message: str = "The script wanted it so."

    def steps(self, reply: Reply) -> list[Step]:
        """Returns what is played instead of the reply."""
        if not reply.streamed:
            return reply_steps(error_reply(529, self.message, kind=self.type, protocol=reply.protocol))
        failure = PROTOCOLS[reply.protocol].failure(self.message, self.type)
        events = (*reply.events[: self.after_events], failure)
        return reply_steps(msgspec.structs.replace(reply, events=events))


class Status(_Fault, frozen=True, forbid_unknown_fields=True, tag="status"):
    """An error status with a body in the shape of the protocol."""

    status: StatusCode = 500
    retry_after: Seconds | str | None = None
    """Seconds, or a date as HTTP writes it; None sends no such header."""
    message: str = ""
    """Empty says that the script wanted it so."""
    type: str = ""
    """Empty follows from the status."""
    code: str | None = None

    def steps(self, reply: Reply) -> list[Step]:
        """Returns what is played instead of the reply."""
        message = self.message or f"{self.status} {_phrase(self.status)}, as the script says"
        wait = self.retry_after
        text = _number(wait) if isinstance(wait, int | float) else wait
        headers = () if text is None else (("retry-after", text),)
        reply = error_reply(
            self.status, message, kind=self.type, code=self.code, headers=headers, protocol=reply.protocol
        )
        return reply_steps(reply)


class Drip(_Fault, frozen=True, forbid_unknown_fields=True, tag="drip"):
    """The answer comes piece by piece, with a pause before each, and is whole in the end."""

    seconds: Seconds = 0.05
    """The pause."""
    bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """How much comes at a time; None is one event, or 64 bytes when the answer is not streamed."""

    def steps(self, reply: Reply) -> list[Step]:
        """Returns what is played instead of the reply."""
        size = self.bytes or (None if reply.streamed else 64)
        body = reply.body
        pieces = reply.events if size is None else [body[at : at + size] for at in range(0, len(body), size)]
        steps: list[Step] = [reply.head()]
        for piece in pieces:
            steps += [self.seconds, reply.frame(piece)]
        return [*steps, reply.end()]


class Empty(_Fault, frozen=True, forbid_unknown_fields=True, tag="empty"):
    """A status and not one byte of body."""

    status: StatusCode = 200

    def steps(self, reply: Reply) -> list[Step]:
        """Returns what is played instead of the reply."""
        return reply_steps(Reply(status=self.status, content_type=reply.content_type))


class WrongType(_Fault, frozen=True, forbid_unknown_fields=True, tag="wrong_type"):
    """Something else comes with status 200, as from a proxy's login page."""

    content_type: str = "text/html; charset=utf-8"
    body: str = "<!doctype html><title>Sign in</title><p>Sign in to use this network.</p>"

    def steps(self, reply: Reply) -> list[Step]:
        """Returns what is played instead of the reply."""
        return reply_steps(Reply(content_type=self.content_type, events=(self.body.encode(),)))


class GzipBomb(_Fault, frozen=True, forbid_unknown_fields=True, tag="gzip_bomb"):
    """A few kilobytes that unpack to far more than any answer."""

    megabytes: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 64

    def steps(self, reply: Reply) -> list[Step]:
        """Returns what is played instead of the reply."""
        headers = (("content-encoding", "gzip"),)
        return reply_steps(Reply(content_type=reply.content_type, headers=headers, events=(_packed(self.megabytes),)))


Fault = (
    Reset | Cut | Hang | Malformed | Truncated | Unfinished | StreamError | Status | Drip | Empty | WrongType | GzipBomb
)
"""One thing that goes wrong."""


def choose_fault(faults: Fault | Sequence[Fault] | None, failed: int) -> Fault | None:
    """Returns what goes wrong after so many failures of the same turn; None when it succeeds."""
    for fault in () if faults is None else faults if isinstance(faults, Sequence) else (faults,):
        if fault.times is None or failed < fault.times:
            return fault
        failed -= fault.times
    return None


@lru_cache(maxsize=4)
def _packed(megabytes: int) -> bytes:
    return gzip.compress(b" " * (megabytes << 20), compresslevel=9, mtime=0)


def _number(seconds: float) -> str:
    return str(int(seconds)) if seconds == int(seconds) else str(seconds)


def _phrase(status: int) -> str:
    return "Overloaded" if status == 529 else HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
