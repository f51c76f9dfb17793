"""A line for each request, on standard error or wherever it is said: JSON, or words for people.

What is in it was declared by us or recognised by access: no paths as they were sent, no queries, no headers, no
bodies. What is left of a client's own words (an address that a proxy names) is written in ASCII, with everything else
escaped. Lines are written by a thread: a terminal that hangs, or a full pipe, holds up no request.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import traceback
from collections import deque
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, final

from holdfast.safety.redacting import Redactor
from holdfast.server.parts import Heard, Observer

__all__ = ("AccessLog", "Lines", "Several")

_WAITING = 10_000
"""Lines that may wait to be written; of more, it is only said how many they were."""


@final
class Lines:
    """Writes lines in a thread of its own."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._waiting: deque[str] = deque()
        self._dropped = 0
        self._some = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def add(self, line: str) -> None:
        """Has a line written, soon."""
        if len(self._waiting) >= _WAITING:
            self._dropped += 1
            return
        self._waiting.append(line)
        if not self._some.is_set():
            self._some.set()

    def close(self) -> None:
        """Writes what waits, for a second at most."""
        self._closing = True
        self._some.set()
        self._thread.join(1)

    def _write(self) -> None:
        try:
            while not (self._closing and not self._waiting):
                self._some.wait()
                self._some.clear()
                lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
                dropped, self._dropped = self._dropped, 0
                if dropped:
                    lines.append(json.dumps({"event": "lines_dropped", "count": dropped}))
                if lines:
                    self._out.write("\n".join(lines) + "\n")
                    self._out.flush()
        except (OSError, ValueError):
            return  # nobody reads it any more


@final
class AccessLog(Observer):
    """Writes down what is heard of requests."""

    def __init__(self, lines: Lines, form: Literal["json", "text"] = "json") -> None:
        self._lines = lines
        self._form = form

    def heard(self, heard: Heard) -> None:
        """Writes a request down."""
        who = heard.who
        told: dict[str, Any] = {
            "event": "stream" if heard.streamed else "request",
            "request_id": heard.request_id,
            "method": heard.method[:16],
            "route": heard.route,
            "status": heard.status,
            "ms": round(heard.seconds * 1000, 3),
            "client": heard.client[:64],
        }
        if heard.code:
            told["code"] = heard.code
        if who is not None:
            told |= {"tenant": who.tenant, "user": who.user, "how": who.how, "principal": who.id}
        self._add("info", told)

    def broken(self, request_id: str, error: Exception) -> None:
        """Writes down what went wrong, and where."""
        said = "".join(traceback.format_exception(error))
        self._add("error", {"event": "error", "request_id": request_id, "error": Redactor().clean(said)})

    def note(self, level: str, message: str) -> None:
        """Writes down what a library has to say."""
        self._add(level, {"event": "note", "message": Redactor().clean(message)})

    def _add(self, level: str, told: dict[str, Any]) -> None:
        now = time.time()
        if self._form == "json":
            at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
            self._lines.add(json.dumps({"at": at, "level": level, **told}))
        else:
            clock = time.strftime("%H:%M:%S", time.localtime(now))
            self._lines.add(f"{clock} {_words(told)}")

    def library(self) -> logging.Handler:
        """Returns a handler for what uvicorn, asyncio and the like have to say."""
        return _Noting(self)


@final
class _Noting(logging.Handler):
    def __init__(self, log: AccessLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.note(record.levelname.lower(), self.format(record))


@final
class Several(Observer):
    """Tells several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def heard(self, heard: Heard) -> None:
        """Tells them of a request."""
        for each in self._observers:
            each.heard(heard)

    def broken(self, request_id: str, error: Exception) -> None:
        """Tells them of an error."""
        for each in self._observers:
            each.broken(request_id, error)

    def streams(self, change: int) -> None:
        """Tells them of a stream."""
        for each in self._observers:
            each.streams(change)


def _words(told: dict[str, Any]) -> str:
    if told["event"] in ("request", "stream"):
        text = (
            f"{told['status']} {told['method']:<6} {told['route'] or '-'}  {told['ms']:.1f} ms  {told.get('code', '')}"
        )
    else:
        text = f"{told['event']}: {told.get('message') or told.get('error') or ''}"
    lines = text.rstrip().split("\n") if told["event"] == "error" else [text.rstrip()]
    return "\n".join("".join(c if c.isprintable() else "\ufffd" for c in line) for line in lines)
