"""Sessions that are written by hand, with files and long outputs, for the tests of what is done with whole sessions."""

from __future__ import annotations

from pathlib import Path

import msgspec
from tests.running import MODEL, answer, told

from holdfast.engine.events import CODEC, InputReceived, RunFinished, RunStarted, ToolFinished
from holdfast.engine.letters import Setup
from holdfast.flow.ids import new_batch
from holdfast.journal.owning import BLOB_BYTES, to_record
from holdfast.journal.port import Journal, Park
from holdfast.runtime.runtime import Runtime
from holdfast.types import CallId, Event, Payload, StreamId, TenantId, Text, ToolResult, UserMessage, WorkerId

__all__ = ("exported", "plant", "write", "write_run")


async def exported(runtime: Runtime, session: str = "s", *, blobs: bool = True) -> bytes:
    """Returns the file of a session."""
    return b"".join([line async for line in runtime.export(session, blobs=blobs)])


async def write(journal: Journal, stream: StreamId, *payloads: Payload | tuple[Payload, str]) -> list[Event]:
    """Appends events to a stream, and gives it up; returns them."""
    claim = await journal.claim(stream, WorkerId("w"), 60_000_000)
    seq = claim.head.seq
    events = [
        msgspec.structs.replace(event, seq=event.seq + seq, id=f"e{event.seq + seq}") for event in told(*payloads)
    ]
    records = [to_record(event, CODEC) for event in events]
    await journal.append(stream, claim.head.epoch, seq, new_batch(), records, park=Park("idle"))
    return events


async def write_run(journal: Journal, stream: StreamId, steps: int, folder: Path | None = None, mark: str = "") -> None:
    """Writes a run of so many steps, each with a long output, that is over."""
    tenant = TenantId(stream.partition("/")[0])
    head = await journal.head(stream)
    first = (head.seq if head else 0) + 1
    spec = await journal.blobs.put(tenant, b"spec")
    setup = Setup(spec, MODEL, workspace=str(folder or ""))
    payloads: list[Payload | tuple[Payload, str]] = [
        (InputReceived("prompt", UserMessage((Text(f"go {mark}"),)), setup), f"k{first}"),
        RunStarted(first, setup),
    ]
    for step in range(steps):
        stored = await journal.blobs.put(tenant, f"{mark} {step}".encode() * 20_000)
        long = "." * (BLOB_BYTES if step % 7 == 3 else 0)
        payloads += [
            answer(f"step {step} {mark}", "look"),
            ToolFinished(CallId("c0"), ToolResult(f"{mark} {step}{long}", stored=stored)),
        ]
    await write(journal, stream, *payloads, answer("done"), RunFinished("completed", steps=steps + 1))


def plant(folder: Path, files: int = 30) -> dict[str, bytes]:
    """Makes a folder with files, and returns them."""
    made: dict[str, bytes] = {}
    for number in range(files):
        path = folder / f"d{number % 4}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made.setdefault(str(path.relative_to(folder)), b"%d " % number * 3_000))
    return made
