"""A hostile service for runs that are killed: it does what it is asked, and answers as badly as networks do.

It is a process of its own and remembers what it *did* in a file that is only ever added to and synced each time. That
ledger is the judge of a campaign; what a run believes of itself is no evidence.

    POST /<book>/<seed>/keyed/<label>       does it once for each `Idempotency-Key`, also while the first is under way
    POST /<book>/<seed>/checkable/<label>   does it again each time
    GET  /<book>/<seed>/checkable/<label>   was it done under that key? waits for what it knows to be under way
    POST /<book>/<seed>/unsafe/<label>      does it again each time
    GET  /<book>/<seed>/quiet/all           answers when nothing is under way in that book

A request whose client has gone is worked on all the same. The manner of an answer follows from the seed, the kind and
the label, and from how often that very thing was asked for already, so that an interrupted run meets what an
uninterrupted one does. Questions and repeated requests get a straight answer in the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ("MANNERS", "Manner", "done_text", "manner_of")

MANNERS: Final = ("prompt", "slow", "hidden", "drops", "breaks", "twice", "repeats")
"""At once; late; so late that for a while nobody can tell it was asked for; without an answer, or with a 500, after it
was done; the whole answer twice; its body twice."""
_LATE: Final = {"slow": (0.05, 0.3), "hidden": (0.3, 0.4)}
"""Seconds."""
_STUBBORN: Final = 2
"""Times the same question or the same repeated request may be answered badly."""


class Manner(NamedTuple):
    """How one request is met."""

    name: str
    seconds: float
    """How long it takes until the work is done, or is known of."""


def manner_of(seed: str, kind: str, label: str, repeated: int = 0) -> Manner:
    """Returns how a request is met that was made so often before; nothing but the arguments decides."""
    luck = random.Random(f"{seed}/{kind}/{label}/{repeated}")
    name = luck.choice(MANNERS)
    return Manner(name, luck.uniform(*_LATE.get(name, (0.0, 0.0))))


def done_text(kind: str, label: str) -> str:
    """Returns what the service says of something that is done."""
    return f"{kind} {label}: done"


class Asked(NamedTuple):
    """One request."""

    verb: str
    book: str
    seed: str
    kind: str
    label: str
    key: str


class Desk:
    """What was done, what is under way, and what was asked how often."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._work: dict[tuple[str, str, str, str], asyncio.Task[None]] = {}
        """Keyed and checkable work, under way or done, by book, kind, label and key."""
        self._under_way: Counter[str] = Counter()
        self._quiet = asyncio.Condition()
        self._times: Counter[tuple[str, ...]] = Counter()

    async def serve(self, asked: Asked) -> tuple[Manner, int, str]:
        """Does what is asked and returns the manner of the answer, its status and its text."""
        place = (asked.book, asked.kind, asked.label, asked.key)
        if asked.kind == "quiet":
            async with self._quiet:
                await self._quiet.wait_for(lambda: not self._under_way[asked.book])
            return Manner("prompt", 0), 200, "quiet"
        if asked.verb == "GET":
            manner = self._next(asked, "question")
            if manner.name == "slow":
                await asyncio.sleep(manner.seconds)
            known = place in self._work
            if known:
                await asyncio.shield(self._work[place])
            status, text = (200, done_text(asked.kind, asked.label)) if known else (404, "never heard of it")
            return manner, status, text
        if asked.kind == "keyed" and place in self._work:
            await asyncio.shield(self._work[place])
            return self._next(asked, "repeated"), 200, done_text(asked.kind, asked.label)
        manner = manner_of(asked.seed, asked.kind, asked.label)
        async with self._working(asked.book):
            if manner.name == "hidden":
                await asyncio.sleep(manner.seconds)
            before = self._work.get(place)
            if before is None or asked.kind != "keyed":
                self._work[place] = asyncio.create_task(self._do(asked, manner, before))
            await asyncio.shield(self._work[place])
        return manner, 200, done_text(asked.kind, asked.label)

    def _next(self, asked: Asked, sort: str) -> Manner:
        self._times[(sort, *asked)] += 1
        times = self._times[(sort, *asked)]
        return Manner("prompt", 0) if times > _STUBBORN else manner_of(asked.seed, sort, asked.label, times)

    async def _do(self, asked: Asked, manner: Manner, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        if manner.name == "slow":
            await asyncio.sleep(manner.seconds)
        line = {"book": asked.book, "kind": asked.kind, "label": asked.label, "key": asked.key, "manner": manner.name}
        os.write(self._ledger, json.dumps(line).encode() + b"\n")
        os.fsync(self._ledger)

    @asynccontextmanager
    async def _working(self, book: str) -> AsyncGenerator[None]:
        self._under_way[book] += 1
        try:
            yield
        finally:
            self._under_way[book] -= 1
            async with self._quiet:
                self._quiet.notify_all()


async def _meet(desk: Desk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        verb, path, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        await reader.readexactly(int(headers.get("content-length", "0")))
        book, seed, kind, label = path.strip("/").split("/")
        manner, status, text = await desk.serve(
            Asked(verb, book, seed, kind, label, headers.get("idempotency-key", ""))
        )
        writer.write(_answer(manner.name, status, text))
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
        pass  # the client is dead, and what it asked for was done all the same; or the campaign is over
    finally:
        writer.close()


def _answer(manner: str, status: int, text: str) -> bytes:
    if manner == "drops":
        return b""
    if manner == "breaks":
        status, text = 500, "internal error"
    body = text.encode()
    whole = b"HTTP/1.1 %d .\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
    return whole + {"twice": whole, "repeats": body}.get(manner, b"")


async def _main(ledger: Path) -> None:
    meet: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object] = partial(_meet, Desk(ledger))
    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # whoever started it is gone, or wants its end
    server.close()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
