"""Hears that another process changed a stream.

SQLite says with one number whether anybody committed anything. It is looked at ten times a second, and only
while somebody listens; when it changed, the heads of the streams that are listened to are compared.

Commits of this process are told of at once by the journal itself; this module remembers them only to stay quiet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from holdfast.errors import StorageError
from holdfast.journal.port import Head
from holdfast.journal.stores.hints import Hints
from holdfast.journal.stores.sqlite_tables import fetch_head
from holdfast.storage.sqlite import Connection, Database
from holdfast.types import StreamId

__all__ = ("Watch",)

_EVERY = 0.1
"""Seconds between two looks."""

_Mark = tuple[int, int, int, bool]


class Watch:
    """Hints for the streams of one database file."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._hints = Hints()
        self._marks: dict[StreamId, _Mark] = {}
        self._version = -1
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def listen(self, stream: StreamId, hint: Callable[[], None], *, mail: bool) -> Callable[[], None]:
        """Calls `hint` when the stream, or only its inbox, changed; returns how to stop it."""
        stop = self._hints.listen(stream, hint, mail=mail)
        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.get_running_loop()
            self._rearm()
        return stop

    def wanted(self, stream: StreamId) -> bool:
        """Whether somebody wants to hear of more than mail."""
        return self._hints.wanted(stream)

    def tell(self, stream: StreamId, head: Head | None = None, *, mail: bool = False) -> None:
        """Hints those who listen to the stream; `head` is how it is now, where that is known."""
        if len(self._hints):
            if head is not None:
                self._marks[stream] = _mark(head)
            self._hints.tell(stream, mail=mail)

    def close(self) -> None:
        """Stops looking."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _rearm(self) -> None:
        if self._closed or self._loop is None:
            return
        if not len(self._hints):
            # Nobody listens: the next one to do so starts it again.
            self._loop = None
            self._marks.clear()
            return
        self._timer = self._loop.call_later(_EVERY, self._look)

    def _look(self) -> None:
        try:
            looked = self._database.version()
        except StorageError:
            return  # closed
        looked.add_done_callback(self._compare)

    def _compare(self, looked: asyncio.Future[int]) -> None:
        if looked.cancelled() or self._closed:
            return
        # A look that failed proves nothing, so the heads are looked at.
        version = -1 if looked.exception() is not None else looked.result()
        if version == self._version != -1:
            self._rearm()
            return
        self._version = version
        try:
            compared = self._database.read(_marks, self._hints.streams)
        except StorageError:
            return  # closed
        compared.add_done_callback(self._tell)

    def _tell(self, compared: asyncio.Future[dict[StreamId, _Mark]]) -> None:
        if compared.cancelled() or self._closed:
            return
        if compared.exception() is None:
            for stream, mark in compared.result().items():
                before = self._marks.get(stream)
                if before != mark:
                    self._marks[stream] = mark
                    self._hints.tell(stream, mail=before is None or before[1] != mark[1])
        self._rearm()


def _marks(connection: Connection, streams: Sequence[StreamId]) -> dict[StreamId, _Mark]:
    found = ((stream, fetch_head(connection, stream)) for stream in streams)
    return {stream: _mark(head.head) for stream, head in found if head is not None}


def _mark(head: Head) -> _Mark:
    return head.seq, head.inbox_seq, head.epoch, head.owner is None
