"""`holdfast runs watch`: going back from the event that is selected, with the files."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.running import Scene, scene, soon
from tests.surfaces.commands import bash
from tests.surfaces.watching import job, notes, watching

from holdfast.engine.events import Forked, Rewound
from holdfast.testing import Call, Turn


def write(words: str) -> Turn:
    return Turn(text=f"I write {words}.", calls=[Call("write", {"path": "note", "content": f"{words}\n"})])


WRITES = [write("one"), write("two"), Turn(text="Written.")]


async def written(s: Scene, folder: Path) -> None:
    await soon((await job(s, folder)).result())


@pytest.mark.requirement("cli:watch-branches")
async def test_a_fork_from_the_selected_event_has_its_files_and_is_watched_if_wanted(tmp_path: Path) -> None:
    async with scene(WRITES, url=f"sqlite:///{tmp_path}/s.db", seconds=40) as s:
        await written(s, tmp_path / "w")
        async with watching(s.runtime) as person:
            at = await person.selects("tool.finished")
            await person.presses("f")
            await person.sees(f"fork at event {at}")
            await person.presses("escape")
            await person.sees_no_more(f"fork at event {at}")
            await person.presses("f")
            await person.sees(f"fork at event {at}")
            await person.types("child")
            await person.presses("enter")
            await person.sees("watch the fork?", f"child  from s at event {at}")
            await person.presses("y")
            await person.sees("─ child ", f"fork of s at {at}")
            log = await s.log("child")
            forked = next(event.data for event in log if isinstance(event.data, Forked))
            assert forked.at == at
            assert (Path(forked.workspace) / "note").read_text() == "one\n"
            assert (tmp_path / "w" / "note").read_text() == "two\n"
            await person.presses("o")
            await person.sees("sessions, newest first")


@pytest.mark.requirement("cli:watch-branches")
async def test_an_idle_session_is_rewound_after_a_question_that_says_what_goes(tmp_path: Path) -> None:
    async with scene(WRITES, url=f"sqlite:///{tmp_path}/s.db", seconds=40) as s:
        await written(s, tmp_path / "w")
        async with watching(s.runtime) as person:
            at = await person.selects("tool.finished")
            last = person.watched.figures.state.seq
            await person.presses("r")
            await person.sees(f"back to event {at}?", f"{last - at} events", "put back  note")
            await person.presses("n")
            await person.sees_no_more(f"back to event {at}?")
            assert (tmp_path / "w" / "note").read_text() == "two\n"
            await person.presses("r")
            await person.sees(f"back to event {at}?")
            await person.presses("y")
            await person.until(lambda: person.watched.figures.state.seq > last, "nothing was written")
            await person.until(lambda: (tmp_path / "w" / "note").read_text() == "one\n", "the file stays")
            await person.presses("end")
            await person.sees(f"↶ back to event {at}")
            gone = [row.seq for row in person.watched.rows.rows if row.gone and row.seq]
            assert gone == list(range(at + 1, last + 2))  # the last one keeps the files as they were
        assert [event.data.to for event in await s.log() if isinstance(event.data, Rewound)] == [at]


@pytest.mark.requirement("cli:watch-branches")
async def test_a_session_that_is_not_idle_is_not_rewound_and_it_is_said_why(tmp_path: Path) -> None:
    async with scene([bash("true"), Turn(text="Ok.")], url=f"sqlite:///{tmp_path}/s.db", seconds=40) as s:
        await job(s, tmp_path / "w", mode="ask")
        async with watching(s.runtime) as person:
            await person.sees("allow bash?")
            await person.presses("r")
            await person.until(lambda: "a run is open in this session" in notes(person.app), "it is not said")
        assert "session.rewound" not in await s.kinds()


@pytest.mark.requirement("cli:watch-branches")
async def test_what_changed_up_to_the_selected_event_is_shown_as_a_diff(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "note").write_text("zero\n")
    async with scene(WRITES, url=f"sqlite:///{tmp_path}/s.db", seconds=40) as s:
        await written(s, tmp_path / "w")
        async with watching(s.runtime) as person:
            at = await person.selects("tool.finished")
            await person.presses("d")
            await person.sees(f"files from the beginning to event {at}", "1 path  +1 -1", "-zero", "+one")
            await person.presses("escape")
            await person.sees_no_more("files from the beginning")
            await person.presses("home", "d")
            await person.until(lambda: "no file was changed up to event 1" in notes(person.app), "it is not said")
