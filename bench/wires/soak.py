"""Streams over one wire that end in every way, and what of them is left: `python -m bench.wires.soak WIRE`.

Ten kinds take turns, sixteen streams at once: answers that end well, streamed or whole; an error, bytes that are no
event, a missing end and a broken connection in the middle; a page of a proxy; a refusal for too many requests; a
reader who leaves after the first words; one who is cancelled while he waits. Each must end as it should. Everything is
looked at half way and at the end, after a collection: what grows between the two is a leak. Both looks are taken twice:
while the client keeps connections, of which there are now more and now fewer, and with all of them closed, when next to
nothing may differ.

Prints one JSON line. Read from the environment: `STUB` (address of the server), `SIZE` (how many streams).
"""

import asyncio
import gc
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.errors import ConnectionFailed, Malformed, ModelError, RateLimited
from holdfast.models.port import ModelRequest
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.types import AssistantMessage

from .asking import model_of, request_of
from .script import CALL, TEXT, TOKEN

__all__ = ()

SIZE = int(os.environ.get("SIZE", "5000"))
STUB = os.environ["STUB"]
AT_ONCE = 16
SAID = TEXT[: 40 * TOKEN]

Model = Any
Ends = Callable[[Model, ModelRequest], Any]


class Look(NamedTuple):
    """What there is, after a collection."""

    rss: int
    """Bytes of resident memory."""
    objects: int
    """Objects that the collector knows."""
    blocks: int
    """Blocks of memory that the interpreter gave out; it sees objects that the collector does not."""
    tasks: int
    sockets: int


async def ends_well(model: Model, request: ModelRequest) -> None:
    """The whole message, last."""
    last = None
    async for each in model.stream(request):
        last = each
    assert isinstance(last, AssistantMessage), last
    assert (last.text, [call.name for call in last.calls]) == (SAID, [CALL.name]), last


def fails_with(*errors: type[ModelError]) -> Ends:
    """One of these errors, instead of a message."""

    async def ends(model: Model, request: ModelRequest) -> None:
        try:
            async for item in model.stream(request):
                assert not isinstance(item, AssistantMessage), item
        except errors:
            return
        raise AssertionError(f"it ended without any of {[error.__name__ for error in errors]}")

    return ends


async def leaves(model: Model, request: ModelRequest) -> None:
    """A reader who has read enough."""
    async with aclosing(model.stream(request)) as stream:
        async for item in stream:
            assert item
            return


async def is_cancelled(model: Model, request: ModelRequest) -> None:
    """A reader who is cancelled while he waits for more."""
    began = asyncio.Event()

    async def read() -> None:
        async for _ in model.stream(request):
            began.set()

    task = asyncio.create_task(read())
    await began.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


KINDS: tuple[tuple[str, Ends], ...] = (
    ("clean", ends_well),
    ("whole", ends_well),
    ("error", fails_with(ModelError)),
    ("open", leaves),
    ("garbage", fails_with(Malformed, ConnectionFailed)),
    ("short", fails_with(ConnectionFailed)),
    ("open", is_cancelled),
    ("page", fails_with(Malformed)),
    ("refused", fails_with(RateLimited)),
    ("cut", fails_with(ConnectionFailed)),
)
"""What the server plays, and how it has to end."""


def look() -> Look:
    """Counts what there is."""
    for _ in range(3):
        gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    objects, blocks = len(gc.get_objects()), sys.getallocatedblocks()
    fds = [Path(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    sockets = sum(1 for fd in fds if fd.is_symlink() and str(fd.readlink()).startswith("socket:"))
    return Look(pages * os.sysconf("SC_PAGE_SIZE"), objects, blocks, len(asyncio.all_tasks()), sockets)


async def soak(wire: str, client: HttpClient, numbers: range, seen: Counter[str]) -> None:
    """Streams, one after another in each of the tasks."""
    models = [model_of(wire, client, f"{STUB}/{case}/{wire}") for case, _ in KINDS]
    requests = [request_of(model.name, tools=True) for model in models]
    todo = iter(numbers)

    async def work() -> None:
        for number in todo:
            kind = number % len(KINDS)
            await KINDS[kind][1](models[kind].fresh(), requests[kind])
            seen[KINDS[kind][0]] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


async def still_open(client: HttpClient) -> int:
    """How many connections the server has, besides the one that asks."""
    async with client.get(f"{STUB}/connections") as answer:
        return json.loads(await answer.body())["open"] - 1


async def soaked(wire: str, client: HttpClient, numbers: range, seen: Counter[str]) -> tuple[Look, Look]:
    """Soaks; returns what there is then, and what there is when the connections are closed."""
    await soak(wire, client, numbers, seen)
    kept = look()
    await client.close()
    await asyncio.sleep(0.02)  # transports close with the next turns of the loop
    return kept, look()


async def main(wire: str) -> None:
    """Soaks, looks, and prints."""
    seen: Counter[str] = Counter()
    at_first = look()
    async with HttpClient(TRUSTED) as client:
        kept_half, half = await soaked(wire, client, range(SIZE // 2), seen)
        kept, end = await soaked(wire, client, range(SIZE // 2, SIZE), seen)
    async with asyncio.timeout(10):  # the server hears of it a moment later
        while True:
            async with HttpClient(TRUSTED) as client:
                left = await still_open(client)
            if not left:
                break
            await asyncio.sleep(0.01)
    thousands = (SIZE - SIZE // 2) / 1000
    print(
        json.dumps(
            {
                "wire": wire,
                "streams": seen.total(),
                "seen": seen,
                "kib_per_1000": round((end.rss - half.rss) / 1024 / thousands, 1),
                "objects": end.objects - half.objects,
                "blocks": end.blocks - half.blocks,
                "kept_objects": kept.objects - kept_half.objects,
                "kept": kept.sockets - at_first.sockets,
                "tasks": max(kept.tasks, end.tasks) - at_first.tasks,
                "sockets": end.sockets - at_first.sockets,
                "at_server": left,
                "rss_mb": end.rss >> 20,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
