"""Files that cannot be used: read-only, locked, damaged, or something else altogether."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.durability.journal_files import ANN, STREAM, TTL, goes_on, intact, made, numbers, remount, small_disk

from holdfast.errors import StorageDamaged, StorageError, StorageLocked, StorageReadOnly
from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.types import StreamId

NOBODY = 65534


@contextmanager
def as_nobody() -> Generator[None]:
    """Lays down root's powers, before which no file is read-only."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def forbid(folder: Path) -> None:
    folder.chmod(0o555)


@pytest.fixture
def folder() -> Generator[Path]:
    """A folder that another user may enter, as pytest's own may not be."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


@pytest.mark.requirement("storage:sqlite-read-only")
@pytest.mark.parametrize("what", ["file", "folder", "new-in-folder"])
async def test_a_file_or_folder_that_may_not_be_written_is_named(folder: Path, what: str) -> None:
    path = folder / "j.db"
    if what != "new-in-folder":
        await made(path)
        path.chmod(0o444 if what == "file" else 0o666)
    if what != "file":
        forbid(folder)
    before = path.read_bytes() if path.exists() else b""
    with as_nobody(), pytest.raises(StorageReadOnly) as error:
        await SqliteJournal.open(path)
    assert str(path) in str(error.value)
    assert "change its permissions" in str(error.value)
    assert (path.read_bytes() if path.exists() else b"") == before


@pytest.mark.requirement("storage:sqlite-read-only")
async def test_a_read_only_file_system_is_said_to_be_one() -> None:
    with small_disk("4m") as disk:
        await made(disk / "j.db")
        remount(disk, "ro")
        for name in ("j.db", "new.db"):
            with pytest.raises(StorageReadOnly, match=re.escape(str(disk))):
                await SqliteJournal.open(disk / name)
        remount(disk, "rw")
        journal = await SqliteJournal.open(disk / "j.db")
        await goes_on(journal, 3)
        await journal.close()


@pytest.mark.requirement("storage:sqlite-read-only")
async def test_a_journal_that_becomes_read_only_refuses_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await made(path)
    journal = await SqliteJournal.open(path)
    connection = journal._database._connections[0]
    connection.execute("pragma query_only = on")
    with pytest.raises(StorageReadOnly, match=re.escape(str(path))):
        await journal.claim(STREAM, ANN, TTL)
    connection.execute("pragma query_only = off")
    await goes_on(journal, 3)
    await journal.close()


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2].split(";"):
    connection.execute(statement).fetchall()
print("held", flush=True)
sys.stdin.readline()
connection.close()
"""


@contextmanager
def held(path: Path, statements: str) -> Generator[None]:
    """Another process does something to the file and stays."""
    command = [sys.executable, "-c", HOLD, str(path), statements]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield
        child.communicate("\n")


@pytest.mark.requirement("storage:sqlite-locked")
async def test_a_database_that_another_program_holds_is_said_to_be_locked(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await made(path)
    with held(path, "begin immediate"):
        journal = await SqliteJournal.open(path, patience=0.2)
        assert len(await journal.read(STREAM)) == 3, "reading waits for nobody"
        calls = (journal.claim(StreamId(f"local/s{n}"), ANN, TTL) for n in range(1, 9))
        answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 2)
        assert {type(answer) for answer in answers} == {StorageLocked}, "all wait once, not one after another"
        assert str(path) in str(answers[0])
        assert "try again" in str(answers[0])
    await goes_on(journal, 3)
    await journal.close()
    everything = "pragma locking_mode = exclusive;begin exclusive;commit;create table x (n)"
    with held(path, everything), pytest.raises(StorageLocked, match="try again"):
        await asyncio.wait_for(SqliteJournal.open(path, patience=0.2), 5)


@pytest.mark.requirement("storage:sqlite-locked")
async def test_a_lock_that_is_given_up_in_time_is_only_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await made(path)
    journal = await SqliteJournal.open(path)
    with held(path, "begin immediate"):
        claiming = asyncio.create_task(journal.claim(STREAM, ANN, TTL))
        await journal.head(STREAM)
        assert not claiming.done()
    assert (await asyncio.wait_for(claiming, 5)).head.epoch == 2
    await journal.close()


@pytest.mark.requirement("storage:sqlite-corrupt")
@pytest.mark.parametrize("content", [b"# Notes\n\nBuy milk.\n" * 100, bytes(8192), random.Random(1).randbytes(9000)])
async def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.md"
    path.write_bytes(content)
    with pytest.raises(StorageDamaged, match="is not a Holdfast database; name another file") as error:
        await SqliteJournal.open(path)
    assert str(path) in str(error.value)
    assert path.read_bytes() == content
    assert sorted(os.listdir(tmp_path)) == ["notes.md"]  # noqa: PTH208


@pytest.mark.requirement("storage:sqlite-corrupt")
async def test_damaged_pages_are_found_and_said_so(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await made(path, 300)
    content = path.read_bytes()
    page = int.from_bytes(content[16:18], "big")
    luck = random.Random(2)
    caught = 0
    for turn in range(1, len(content) // page):
        damaged = content[: turn * page] + luck.randbytes(page) + content[(turn + 1) * page :]
        path.write_bytes(damaged)
        try:
            journal = await SqliteJournal.open(path)
        except StorageDamaged as error:
            caught += 1
            assert str(path) in str(error)
            assert "restore a backup" in str(error)
            continue
        try:
            found = await numbers(journal)
            await goes_on(journal, 300)
            assert found == list(range(1, 301))
        except StorageDamaged as error:
            caught += 1
            assert "restore a backup" in str(error)
        except AssertionError:
            assert not await intact(journal)
        await journal.close()
    assert caught >= len(content) // page // 2


@pytest.mark.parametrize("place", ["missing/j.db", "."])
async def test_a_place_where_no_file_can_be_is_said_so(tmp_path: Path, place: str) -> None:
    with pytest.raises(StorageError, match=re.escape(str(tmp_path))) as error:
        await SqliteJournal.open(tmp_path / place)
    assert "name" in str(error.value)


async def test_a_database_of_another_program_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    connection = sqlite3.connect(path)
    connection.execute("create table theirs (n)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="another program; name another file"):
        await SqliteJournal.open(path)
    assert path.read_bytes() == before
