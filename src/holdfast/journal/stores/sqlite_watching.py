"""Hears that another process changed a stream.

SQLite says with one number whether anybody committed anything. It is looked at ten times a second, and only while
somebody listens. Commits of this process are told of at once by the journal itself, so when there were some the
connection that writes is asked, whose number counts only those of others: each transaction looks at it, and one that
is made for this alone would come between the groups of a process that is busy. When others committed, the heads of
the streams that are listened to are compared with what was last known of them.

Nothing of others is missed: each number is taken before the one, or the heads, it leads to. What is committed then is
either seen there already or makes the next look differ. What could not be asked counts as changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.errors import StorageError
from holdfast.journal.port import Head
from holdfast.journal.stores.hints import Hints
from holdfast.journal.stores.sqlite_buffer import HeadBuffer
from holdfast.journal.stores.sqlite_tables import Mark, fetch_marks
from holdfast.storage.sqlite import Database
from holdfast.types import StreamId

__all__ = ("Watch",)

_EVERY = 0.1
"""Seconds between two looks."""
_MOMENT = 0.005
"""Seconds in which a process that writes makes a transaction that tells whether others committed."""
_UNKNOWN = -1


class Watch:
    """Hints for the streams of one database file."""

    def __init__(self, database: Database, buffer: HeadBuffer) -> None:
        self._database = database
        self._buffer = buffer
        self._hints = Hints()
        self.wanted = self._hints.wanted
        """Whether somebody wants to hear of more of a stream than mail."""
        self._marks: dict[StreamId, Mark] = {}
        self._version = _UNKNOWN
        """Differs when anybody committed."""
        self._others = _UNKNOWN
        """Differs when others committed."""
        self._written = (0, 0)
        """What this process had written at the last two looks: a commit may take longer than from one to the next."""
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

    def tell(self, stream: StreamId, head: Head | None = None, *, mail: bool = False) -> None:
        """Hints those who listen to the stream; `head` is how it is now, where that is known."""
        if mail:
            self._marks.pop(stream, None)
        elif head is not None and (before := self._marks.get(stream)) is not None:
            # The head may hold mail of others, which no comparison would find new after this.
            self._marks[stream] = mark = Mark(head.seq, head.inbox_seq, head.epoch, head.owner is None)
            mail = mark.inbox_seq != before.inbox_seq
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
        if len(self._marks) > 2 * len(self._hints):
            self._marks = {stream: self._marks[stream] for stream in self._hints.streams if stream in self._marks}
        self._timer = self._loop.call_later(_EVERY, self._look)

    def _look(self) -> None:
        try:
            self._database.version().add_done_callback(self._looked)
        except StorageError:
            return  # closed

    def _looked(self, looked: asyncio.Future[int]) -> None:
        if looked.cancelled() or self._closed:
            return
        if looked.exception() is not None:
            self._compare()
            return
        before, self._version = self._version, looked.result()
        written, (earlier, last) = self._buffer.written, self._written
        self._written = (last, written)
        if self._version == before:
            self._rearm()
        elif earlier == written:
            self._compare()  # it was not this process
        else:
            self._timer = looked.get_loop().call_later(_MOMENT, self._ask, self._buffer.begun)

    def _ask(self, begun: int) -> None:
        """Asks the connection that writes whether others committed, too; `begun` transactions were earlier."""
        if self._buffer.begun != begun:
            self._heard(self._buffer.version)
            return
        try:
            self._database.stage(lambda _: self._buffer.version).add_done_callback(self._asked)
        except StorageError:
            return  # closed

    def _asked(self, asked: asyncio.Future[int]) -> None:
        if not asked.cancelled() and not self._closed:
            self._heard(_UNKNOWN if asked.exception() is not None else asked.result())

    def _heard(self, version: int) -> None:
        before, self._others = self._others, version
        if version == before != _UNKNOWN:
            self._rearm()
        else:
            self._compare()

    def _compare(self) -> None:
        try:
            self._database.read(fetch_marks, self._hints.streams).add_done_callback(self._tell)
        except StorageError:
            return  # closed

    def _tell(self, compared: asyncio.Future[dict[StreamId, Mark]]) -> None:
        if compared.cancelled() or self._closed:
            return
        if compared.exception() is not None:
            self._version = self._others = _UNKNOWN  # the next look compares again
        else:
            for stream, mark in compared.result().items():
                before = self._marks.get(stream)
                if before != mark:
                    self._marks[stream] = mark
                    self._hints.tell(stream, mail=before is None or before.inbox_seq != mark.inbox_seq)
        self._rearm()
