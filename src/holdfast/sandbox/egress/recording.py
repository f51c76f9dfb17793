"""What was decided while a command ran, in bounded memory, and with nothing left out that is not counted.

Programs choose how often they ask and for what, so a record that drops what no longer fits could be filled with noise
until the one request that matters is missing. Here equal denials are one row with a count. When there is no room for
rows, the newest are kept as they are, and older ones become one row for each program, host, port and method, with a
count; when there are too many of those as well, one row says how many more. What passed and what was denied never
compete for room.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from itertools import count
from typing import Final, final

import msgspec

from holdfast.sandbox.egress.answers import Decided, Verdict

__all__ = ("Record",)

_NEWEST: Final = 100
_KINDS: Final = 500
_TEXT: Final = 2 * 1024**2
"""Characters of the rows of one verdict."""
_LONGEST: Final = 4096
"""Characters of one text in a row."""
_NUMBER: Final = count()


class _Row(msgspec.Struct):
    """A decision, and how often it came."""

    decided: Decided
    count: int
    first: float
    last: float


@final
class Record:
    """The decisions since somebody last took them."""

    def __init__(self, most: int, clock: Callable[[], float] = time.time) -> None:
        """Makes an empty one that keeps so many decisions of each verdict one by one; the clock counts seconds."""
        self._most = most
        self._clock = clock
        self._shares: dict[Verdict, _Share] = {}

    def add(self, decided: Decided) -> None:
        """Takes up a decision."""
        if (share := self._shares.get(decided.verdict)) is None:
            share = self._shares[decided.verdict] = _Share(self._most)
        now = self._clock()
        share.add(_Row(decided, 1, now, now))

    def take(self) -> tuple[Decided, ...]:
        """Returns what was decided since the last time, in the order it began in, each with its count and times."""
        shares, self._shares = self._shares, {}
        found = [
            msgspec.structs.replace(each.decided, count=each.count, first=each.first, last=each.last)
            for share in shares.values()
            for each in share.rows()
        ]
        return tuple(sorted(found, key=lambda each: each.first))


@final
class _Share:
    """Those of one verdict."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._room = _TEXT
        self._kept: dict[Hashable, _Row] = {}
        self._newest: OrderedDict[Hashable, _Row] = OrderedDict()
        self._kinds: dict[Decided, _Row] = {}
        self._beyond: _Row | None = None

    def add(self, row: _Row) -> None:
        decided = _clipped(row.decided)
        row.decided = decided
        key: Hashable = next(_NUMBER)
        if decided.verdict == "denied":
            key = msgspec.structs.replace(decided, pid=0)  # whoever tries again is often another process
        if (same := self._kept.get(key) or self._newest.get(key)) is not None:
            _join(same, row)
            return
        size = len(decided.reason) + len(decided.path) + len(decided.host) + len(decided.binary)
        if len(self._kept) < self._most and size <= self._room:
            self._kept[key] = row
            self._room -= size
            return
        self._newest[key] = row
        if len(self._newest) > _NEWEST:
            self._merge(self._newest.popitem(last=False)[1])

    def _merge(self, row: _Row) -> None:
        """Keeps of a row what it has in common with others."""
        kind = msgspec.structs.replace(row.decided, reason="", address="", path="", pid=0)
        row.decided = kind
        if (same := self._kinds.get(kind)) is not None:
            _join(same, row)
        elif len(self._kinds) < _KINDS:
            self._kinds[kind] = row
        elif self._beyond is not None:
            _join(self._beyond, row)
        else:
            row.decided = Decided(verdict=kind.verdict, layer="several", reason="")
            self._beyond = row

    def rows(self) -> Iterator[_Row]:
        yield from self._kept.values()
        for each in self._kinds.values():
            what = f"{each.count:,} like this are one row: there were too many to keep one by one"
            yield msgspec.structs.replace(each, decided=msgspec.structs.replace(each.decided, reason=what))
        if (each := self._beyond) is not None:
            what = f"{each.count:,} more to other places were only counted: there were too many to keep"
            yield msgspec.structs.replace(each, decided=msgspec.structs.replace(each.decided, reason=what))
        yield from self._newest.values()


def _join(row: _Row, other: _Row) -> None:
    row.count += other.count
    row.first, row.last = min(row.first, other.first), max(row.last, other.last)


def _clipped(decided: Decided) -> Decided:
    if max(len(decided.path), len(decided.reason)) <= _LONGEST:
        return decided
    path, reason = (f"{each[:_LONGEST]}…" if len(each) > _LONGEST else each for each in (decided.path, decided.reason))
    return msgspec.structs.replace(decided, path=path, reason=reason)
