"""What the tests of SQLite files share: a stream of numbered records, and disks and processes to put it on."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.journal.port import Head, Record
from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.types import BatchId, StreamId, WorkerId

CHILD = str(Path(__file__).with_name("journal_child.py"))
STREAM = StreamId("local/s1")
ANN = WorkerId("ann")
TTL = 3_600_000_000


def record(seq: int, size: int = 0) -> Record:
    return Record(seq, "x.y", b"%d" % seq + b"." * size)


async def append(journal: SqliteJournal, seq: int, size: int = 0) -> None:
    head = await journal.append(STREAM, 1, seq - 1, BatchId(f"b{seq}"), [record(seq, size)])
    assert isinstance(head, Head)


async def numbers(journal: SqliteJournal) -> list[int]:
    return [found.seq for found in await journal.read(STREAM, limit=100_000)]


async def goes_on(journal: SqliteJournal, held: int) -> None:
    """Proves that the journal can be written and read after whatever happened to it."""
    head = await journal.head(STREAM)
    claim = await journal.claim(STREAM, WorkerId("next"), TTL, over=head.epoch if head else None)
    await journal.append(STREAM, claim.head.epoch, held, BatchId("goes on"), [record(held + 1)])
    assert await numbers(journal) == list(range(1, held + 2))
    assert await intact(journal)


async def intact(journal: SqliteJournal) -> bool:
    return await journal._database.read(lambda c: c.execute("pragma integrity_check").fetchone()[0]) == "ok"


async def made(path: Path, count: int = 3) -> None:
    """Makes a journal with so many records and closes it."""
    journal = await SqliteJournal.open(path)
    await journal.claim(STREAM, ANN, TTL)
    for seq in range(1, count + 1):
        await append(journal, seq)
    await journal.release(STREAM, 1)
    await journal.close()


def start(*arguments: str) -> subprocess.Popen[str]:
    """Starts the child with pipes to it."""
    command = [sys.executable, CHILD, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def small_disk(size: str) -> Generator[Path]:
    """Mounts a file system of that size, where the kernel lets us."""
    folder = Path(tempfile.mkdtemp())
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("may not mount a file system here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        folder.rmdir()


def remount(disk: Path, option: str) -> None:
    """Changes how a small disk is mounted."""
    subprocess.run(["mount", "-o", f"remount,{option}", disk], check=True)
