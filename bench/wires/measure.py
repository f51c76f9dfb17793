"""How an adapter and a floor are measured: CPU of this process for each answer, in the way of `bench/floor/measure.py`.

A program hands over an async context manager that yields a callable; calling it asks once and returns a stream: lists
of deltas, one for each read from the network, then the whole answer, last. Warm-up runs read the deltas too, and they
must join to the answer; every answer must be what the server's script says, so nobody wins by doing less.

With `MARKS` in the environment the measured part begins and ends with a call of `getpriority`, which does nothing, and
which a tool that counts instructions can be told to look for (`counting.py`). Standard library only.

Read from the environment: `CASE`, `STUB` (address of the server), `RUNS`, `CONC`, `WARMUP`, `MARKS`.
"""

import asyncio
import gc
import json
import os
import resource
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

from .script import CASE, Answer, expected

__all__ = ("Client", "measure")

RUNS = int(os.environ.get("RUNS", "100"))
CONC = int(os.environ.get("CONC", "8"))
WARMUP = int(os.environ.get("WARMUP", "5"))
MARKS = bool(os.environ.get("MARKS"))


class Client(NamedTuple):
    """Something that asks a server."""

    stream: Callable[[], AsyncIterator[Any]]
    """Asks once: lists of deltas, and what says the whole, last."""
    answer: Callable[[Any], Answer]
    """What the last one says."""
    said: Callable[[Any], str]
    """What a delta adds to the words, or to the arguments of a call."""


def measure(name: str, open_client: Callable[[], AbstractAsyncContextManager[Client]]) -> None:
    """Measure and print one JSON line.

    Raises:
        SystemExit: An answer was another one than the script's, or its deltas do not join to it.
    """
    cpu, wall, answers = asyncio.run(_go(name, open_client))
    right = _comparable(expected())
    wrong = [answer for answer in answers if _comparable(answer) != right]
    if wrong:
        raise SystemExit(f"{name}: {len(wrong)} of {RUNS} answers of {CASE!r} are wrong, first {str(wrong[0])[:200]}")
    first = answers[0]
    print(
        json.dumps(
            {
                "peer": name,
                "case": CASE,
                "runs": RUNS,
                "conc": CONC,
                "cpu_ms_per_run": round(cpu / RUNS * 1e3, 4),
                "wall_ms_per_run": round(wall / RUNS * 1e3, 4),
                "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "chars": len(first.text),
                "out": first.text[:24],
                "calls": first.calls,
                "usage": first.usage,
            }
        )
    )


async def _go(
    name: str, open_client: Callable[[], AbstractAsyncContextManager[Client]]
) -> tuple[float, float, list[Answer]]:
    """CPU seconds, wall seconds and all answers."""
    async with open_client() as client:
        for _ in range(WARMUP):
            await _checked(name, client)
        turn = asyncio.Semaphore(CONC)

        async def one() -> Any:
            last = None
            async with turn:
                async for each in client.stream():
                    last = each
            return last

        gc.collect()
        _mark()
        cpu, wall = time.process_time(), time.perf_counter()
        ends = await asyncio.gather(*(one() for _ in range(RUNS)))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        _mark()
        return cpu, wall, [client.answer(end) for end in ends]


async def _checked(name: str, client: Client) -> None:
    """One run whose deltas are looked at."""
    pieces: list[str] = []
    last: Any = None
    async for last in client.stream():
        if isinstance(last, list):
            deltas: list[Any] = [*last]
            pieces += map(client.said, deltas)
    answer = client.answer(last)
    whole = answer.text + "".join(call.arguments for call in answer.calls)
    if "".join(pieces) != whole:
        raise SystemExit(f"{name}: the deltas of {CASE!r} are not the answer: {''.join(pieces)[:80]!r}")


def _comparable(answer: Answer) -> tuple[Any, ...]:
    """An answer, apart from how the JSON of arguments is spelled."""
    calls = [(call.id, call.name, json.loads(call.arguments)) for call in answer.calls]
    return answer.text, calls, tuple(answer.usage)


def _mark() -> None:
    if MARKS:
        os.getpriority(os.PRIO_PROCESS, 0)
