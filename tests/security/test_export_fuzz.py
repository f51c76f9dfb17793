"""Exports in which something was changed: each is refused by its line, or what it brings touches nothing but a folder
of its own.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.hostile import laden, sealed
from tests.mutating import rewritten
from tests.running import MODEL, Scene, scene, soon

from holdfast import Agent, Delivery
from holdfast.engine.events import CODEC, RunStarted
from holdfast.errors import HoldfastError, UsageError
from holdfast.journal.reading import read_events
from holdfast.runtime.runtime import Runtime
from holdfast.types import Event, stream_id

ROUNDS = int(os.environ.get("EXPORT_FUZZ_ROUNDS", "40"))
"""Files for each seed; more are for a night."""
HOSTILE: tuple[Any, ...] = (
    "..",
    "../evil",
    "/",
    ".",
    "",
    "src",
    "src/..",
    "\0",
    "a\0b",
    "local/victim",
    "local/t",
    "t",
    "t:1",
    "file:evil",
    "builtin:bash",
    "child:c-0",
    "sha256:" + "0" * 64,
    "tree",
    -1,
    0,
    1,
    7,
    10**6,
    2**62,
    2**70,
    True,
    False,
    None,
    [],
    [""],
    ["t"],
    ["..", "src"],
    {},
)


class Home:
    """A person's folder, with a project in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = folder / "project"
        (self.project / "src").mkdir(parents=True)
        (self.project / "src" / "work.py").write_text("hours\n")
        (self.project / "a.txt").write_text("mine\n")
        (folder / "beside.txt").write_text("mine\n")
        self.new = folder / "new"

    def look(self) -> dict[str, str]:
        """Returns what stands there, but for the folder of the new session."""
        found: dict[str, str] = {}
        for place, folders, names in os.walk(self.folder):
            if Path(place) == self.folder and "new" in folders:
                folders.remove("new")
            for name in (*folders, *names):
                path = Path(place) / name
                kept = path.read_text() if path.is_file() else ""
                found[str(path.relative_to(self.folder))] = f"{path.lstat().st_mode:o} {kept}"
        return found


def changed(lines: list[bytes], chance: random.Random) -> list[bytes]:
    """Returns lines of which a few say something else."""
    lines = list(lines)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(lines))
        lines[at] = rewritten(lines[at], chance) if chance.random() < 0.4 else _poisoned(lines[at], chance)
    return lines


def _poisoned(line: bytes, chance: random.Random) -> bytes:
    """Returns a line one of whose values, or of those it leaves out, is one that leads elsewhere."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):  # it was changed before
        return line
    held: Any = value
    while True:
        keys = list(held) if isinstance(held, dict) else list(range(len(held)))
        if not keys:
            return line
        key = chance.choice(keys)
        if not isinstance(held[key], dict | list) or not held[key] or chance.random() < 0.1:
            break
        held = held[key]
    held[key] = chance.choice(HOSTILE)
    return json.dumps(value, separators=(",", ":")).encode()


async def _tried(runtime: Runtime, home: Home, chance: random.Random) -> None:
    """Does with an imported session what a person may do with one."""
    head = await runtime.journal.head(stream_id("local", "t"))
    assert head is not None
    steps: list[Callable[[], Any]] = [
        lambda: runtime.rewind("t", to=chance.randrange(head.seq + 1)),
        lambda: runtime.fork("t", at=chance.randrange(1, head.seq + 1), name="f", workspace=home.new / "fork"),
        lambda: runtime.changes("t"),
        lambda: runtime.snapshots("t"),
        lambda: runtime.commit("t"),
        lambda: runtime.commit("f"),
        runtime.waiting,
        lambda: _exported(runtime),
        lambda: runtime.session("t").steer("go on"),
        lambda: runtime.session("f").steer("go on"),
        lambda: runtime.resume("t"),
        lambda: runtime.proceed("t"),
        lambda: runtime.proceed("f"),
        runtime.collect,
    ]
    chance.shuffle(steps)
    for step in steps:
        with suppress(HoldfastError):
            await step()
    await runtime.sweep()
    await runtime.flush_deliveries()


async def _exported(runtime: Runtime) -> None:
    async for _ in runtime.export("t"):
        pass


async def _one(s: Scene, lines: list[bytes], home: Home, chance: random.Random) -> bool:
    """Imports a file that was changed; returns whether it was taken."""
    given: list[Delivery] = []

    async def take(delivery: Delivery) -> None:
        given.append(delivery)

    before, asked = home.look(), len(s.server.requests)
    url = "memory:" if chance.random() < 0.8 else f"sqlite:///{home.folder.parent}/{chance.random()}.db"
    async with Runtime.open(url, targets={"t": take}) as other:
        try:
            await other.load(sealed(lines), name="t", workspace=home.new)
        except (UsageError, HoldfastError) as error:
            assert isinstance(error, UsageError), error
            assert "line " in str(error) or "name" in str(error) or "folder" in str(error), error
            assert await other.journal.heads("local") == []
            assert home.look() == before
            return False
        await _tried(other, home, chance)
        assert len(s.server.requests) == asked, "a model was asked"
        assert not any([each async for each in _runs_here(other)]), "a run was opened"
        with suppress(HoldfastError):  # taken back to where it never was a session, it cannot be gone on with
            await soon((await other.start(Agent(MODEL), "hi", session="t", workspace=home.project)).result())
        await other.flush_deliveries()
        assert not await other.ledger.capped(1)
    assert home.look() == before
    assert given == []
    return True


async def _runs_here(runtime: Runtime) -> AsyncIterator[Event]:
    """Yields the runs that began after the file's own events."""
    for name in ("t", "f"):
        told = [event async for event in read_events(runtime.journal, stream_id("local", name), CODEC)]
        first = max([event.seq for event in told if event.type == "session.forked"], default=0)
        for event in told:
            if event.seq > first and isinstance(event.data, RunStarted):
                yield event


@pytest.mark.requirement("runtime:import-touches-nothing")
@pytest.mark.parametrize("seed", range(4))
async def test_whatever_was_changed_in_a_file_it_touches_nothing_but_its_own_folder(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    home = Home(tmp_path / "home")
    taken = 0
    async with scene(["ok"] * 9, seconds=60 + ROUNDS) as s:
        good = (await laden(s.runtime, home.folder)).splitlines()[:-1]
        assert await _one(s, good, home, chance), "the file as it is was refused"
        for _ in range(ROUNDS):
            shutil.rmtree(home.new, ignore_errors=True)
            taken += await _one(s, changed(good, chance), home, chance)
    assert ROUNDS > taken > 0
