"""An import and a deletion that are killed at any instant: the session is there as a whole, or it is not there."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.archives import exported, plant, write_run
from tests.durability.journal_files import intact

from holdfast.engine.events import CODEC
from holdfast.engine.folding import replay
from holdfast.engine.state import State
from holdfast.errors import UnknownSession
from holdfast.flow.clock import SystemClock
from holdfast.journal.reading import read_events
from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.runtime.runtime import Runtime
from holdfast.types import StreamId

S, T = StreamId("local/s"), StreamId("local/t")
KILLS = 200 if os.environ.get("HOLDFAST_CAMPAIGN") else 10
CHILD = """
import asyncio, sys
from holdfast.runtime.runtime import Runtime

async def main(what, url, file):
    async with Runtime.open(url) as runtime:
        await runtime.journal.heads("local")
        print("go", flush=True)
        if what == "delete":
            await runtime.delete("t")
        else:
            with open(file, "rb") as lines:
                await runtime.load(lines, name="t")
        print("done", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def killed(what: str, url: str, file: Path, after: float) -> bool:
    """Lets a process do something, and kills it; returns whether it had said that it was done."""
    with subprocess.Popen([sys.executable, "-c", CHILD, what, url, str(file)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"go\n"
        select.select([child.stdout], [], [], after)  # readable when it is done
        os.kill(child.pid, signal.SIGKILL)
        child.wait(5)
        return b"done" in child.stdout.read()


def lasts(what: str, url: str, file: Path) -> float:
    """Returns the seconds it takes, when nobody kills it."""
    with subprocess.Popen([sys.executable, "-c", CHILD, what, url, str(file)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"go\n"
        begun = time.monotonic()
        assert child.stdout.readline() == b"done\n"
        return time.monotonic() - begun


async def found(runtime: Runtime) -> State | None:
    """Returns what is there of the session; None when there is nothing."""
    events = [event async for event in read_events(runtime.journal, T, CODEC)]
    return replay(events) if events else None


@pytest.mark.requirement("runtime:import-survives-kills", "runtime:delete-survives-kills")
async def test_a_session_is_there_as_a_whole_or_not_at_all_whenever_it_is_killed(tmp_path: Path) -> None:
    url, file, chance = f"sqlite:///{tmp_path}/s.db", tmp_path / "s.jsonl", random.Random(11)
    made = plant(tmp_path / "w")
    async with Runtime.open(url) as runtime:
        await write_run(runtime.journal, S, 40, tmp_path / "w", "mark")
        file.write_bytes(await exported(runtime))
        expected = replay([event async for event in read_events(runtime.journal, S, CODEC)])
    takes = {what: lasts(what, f"sqlite:///{tmp_path}/o.db", file) for what in ("import", "delete")}
    outcomes: set[tuple[str, bool, bool]] = set()
    for number in range(KILLS):
        async with Runtime.open(url) as runtime:
            there = await found(runtime) is not None
        what = "delete" if there else "import"
        done = killed(what, url, file, chance.random() * 1.5 * takes[what])
        async with Runtime.open(url) as runtime:
            state = await found(runtime)
            assert not done or (state is None) == (what == "delete")
            outcomes.add((what, done, state is not None))
            assert isinstance(runtime.journal, SqliteJournal)
            assert await intact(runtime.journal)
            if state is not None:
                assert state.messages == expected.messages
                assert state.run is None
                if what == "import":
                    await prove_files(runtime, tmp_path / f"f{number}", made)
    assert {what for what, _, _ in outcomes} == {"import", "delete"}
    async with Runtime.open(url, clock=SystemClock()) as runtime:
        await prove_both_still_work(runtime, file)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def prove_files(runtime: Runtime, folder: Path, made: dict[str, bytes]) -> None:
    """Proves that the files of the session are to be had, whether they were put back by then or not."""
    await runtime.fork("t", name=folder.name, workspace=folder)
    assert files_in(folder) == made
    await runtime.delete(folder.name)


async def prove_both_still_work(runtime: Runtime, file: Path) -> None:
    if await found(runtime) is not None:
        await runtime.delete("t")
    with pytest.raises(UnknownSession):
        await runtime.delete("u")
    with file.open("rb") as lines:
        done = await runtime.load(lines, name="u")
    assert done.files
    assert (await runtime.delete("u")).events == done.events + 2
