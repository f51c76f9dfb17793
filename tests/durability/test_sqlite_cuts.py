"""A log without its end, a torn one, a process that is killed, two that fight: what is left is a prefix."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

import pytest
from tests.durability.journal_files import ANN, STREAM, TTL, append, goes_on, intact, numbers, record, start

from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.testing.conformance.journal_racing import prove_one_sequence


def size_of(path: Path) -> int:
    return path.stat().st_size


def put_down(still: Path, folder: Path, log: bytes) -> Path:
    folder.mkdir()
    (folder / "j.db-wal").write_bytes(log)
    return Path(shutil.copy(still / "j.db", folder / "j.db"))


async def written(folder: Path, appends: int) -> tuple[Path, list[int]]:
    """Returns a copy of a journal as it lay on the disk, and how long its log was at each acknowledgement."""
    path = folder / "j.db"
    journal = await SqliteJournal.open(path)
    await journal.claim(STREAM, ANN, TTL)
    ends: list[int] = []
    for seq in range(1, appends + 1):
        await append(journal, seq, size=seq * 97 % 5000)
        ends.append(size_of(folder / "j.db-wal"))
    still = folder / "still"
    still.mkdir()
    for name in ("j.db", "j.db-wal"):
        shutil.copy(folder / name, still / name)
    await journal.close()
    return still, ends


async def reopened(still: Path, folder: Path, log: bytes) -> list[int]:
    """Returns what a journal with that log holds, after proving that it goes on."""
    journal = await SqliteJournal.open(put_down(still, folder, log))
    found = await journal.read(STREAM)
    assert [(r.seq, r.body) for r in found] == [(n, record(n, n * 97 % 5000).body) for n in range(1, len(found) + 1)]
    await goes_on(journal, len(found))
    await journal.close()
    shutil.rmtree(folder)
    return [r.seq for r in found]


@pytest.mark.requirement("storage:sqlite-wal-tail-cut")
async def test_a_log_without_its_end_holds_a_prefix_and_goes_on(tmp_path: Path) -> None:
    still, ends = await written(tmp_path, 40)
    log = (still / "j.db-wal").read_bytes()
    page = int.from_bytes(log[8:12], "big")
    frames = range(32, len(log) + 1, page + 24)
    assert (len(log) - 32) % (page + 24) == 0
    luck = random.Random(11)
    cuts = {0, 1, 31, 32, 33, *(luck.randrange(len(log)) for _ in range(15))}
    cuts |= {min(frame + step, len(log)) for frame in frames[-20:] for step in (-1, 0, 1)}
    for cut in sorted(cuts):
        found = await reopened(still, tmp_path / f"cut-{cut}", log[:cut])
        kept = sum(end <= cut for end in ends)
        assert len(found) == kept, f"cut at {cut}: {kept} appends lay wholly before it, {len(found)} were found"


@pytest.mark.requirement("storage:sqlite-wal-tail-cut")
async def test_a_log_with_a_torn_frame_holds_what_came_before_it(tmp_path: Path) -> None:
    still, ends = await written(tmp_path, 20)
    log = (still / "j.db-wal").read_bytes()
    luck = random.Random(12)
    for turn in range(20):
        place = luck.randrange(ends[9], len(log))
        torn = bytearray(log)
        torn[place] ^= 1 << luck.randrange(8)
        found = await reopened(still, tmp_path / f"torn-{turn}", bytes(torn))
        kept = sum(end <= place for end in ends)
        assert len(found) == kept, f"torn at {place}: {kept} appends lay wholly before it, {len(found)} were found"


def killed(path: Path, held: int, stop_after: int) -> int:
    """Kills a process that appends once it said so many; returns the last append that it saw acknowledged."""
    with start("serial", str(path), "100000", "full") as child:
        assert child.stdout is not None
        said = held
        for line in child.stdout:
            if line.startswith("ack") and (said := int(line.split()[1])) >= stop_after:
                break
        child.kill()
        rest = [line for line in child.stdout if line.startswith("ack") and line.endswith("\n")]
    return max([said, *(int(line.split()[1]) for line in rest)])


@pytest.mark.requirement("journal:torn-write-dropped")
async def test_a_kill_takes_no_more_than_what_was_not_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    luck = random.Random(13)
    held = 0
    for _ in range(8):
        acknowledged = killed(path, held, held + luck.randrange(1, 60))
        journal = await SqliteJournal.open(path)
        found = await numbers(journal)
        assert found == list(range(1, len(found) + 1))
        assert acknowledged <= len(found) <= acknowledged + 1
        assert await intact(journal)
        await journal.close()
        held = len(found)


@pytest.mark.requirement("storage:sqlite-two-processes", "journal:claimants-two-times-ten-thousand")
async def test_two_processes_that_fight_for_a_stream_leave_one_sequence(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = await SqliteJournal.open(path)
    hinted = asyncio.Event()
    stop = journal.listen(STREAM, hinted.set)
    children = [start("contend", str(path), "5000", f"w{n}") for n in range(2)]
    for child in children:
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == "ready\n"
    waiting = [asyncio.create_task(asyncio.to_thread(child.communicate, "go\n", 60)) for child in children]
    await asyncio.wait_for(hinted.wait(), 5)
    stop()
    said = [line.encode() for out, _ in await asyncio.gather(*waiting) for line in out.split()]
    assert [child.returncode for child in children] == [0, 0]
    await prove_one_sequence(journal, STREAM, said)
    assert await intact(journal)
    await journal.close()
