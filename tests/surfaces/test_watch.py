"""`holdfast runs watch`: following a session of any process, and speaking to it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.running import asked, scene, soon
from tests.surfaces.commands import bash
from tests.surfaces.watching import job, notes, watching

from holdfast.engine.events import WaitResolved
from holdfast.testing import Call, Turn
from holdfast.testing.faults import Hang

GATED = [bash("read -r _ < gate"), Turn(text="I am *through*.")]
"""Waits at a pipe named `gate`."""
ASKS = [bash("echo one >> log"), bash("echo two >> log"), Turn(text="All done.")]


def gate(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    os.mkfifo(folder / "gate")
    return folder / "gate"


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/s.db"


@pytest.mark.requirement("cli:watch-follows")
async def test_a_run_of_another_runtime_is_followed_event_by_event_to_its_end(tmp_path: Path) -> None:
    opened = gate(tmp_path / "w")
    async with scene(GATED, url=url(tmp_path), seconds=30) as s, s.other() as other:
        run = await job(s, tmp_path / "w")
        async with watching(other) as person:
            await person.sees("run 1", "▸ go", "step 1  bash", "▷ bash read -r _ < gate", "● running")
            opened.write_text("\n")
            await person.ends("completed")
            await person.sees("✓ bash", "step 2  I am *through*.", "I am through.", "✓ completed", "2 steps")
            assert [row.seq for row in person.watched.rows.rows if row.seq] == [e.seq for e in await s.log()]
            await s.runtime.run("s", run.key).result()
            await job(s, tmp_path / "w", prompt="once more")
            await person.sees("run 2", "▸ once more")
            await person.ends("completed")


@pytest.mark.requirement("cli:watch-live-words")
async def test_words_of_a_run_that_this_process_drives_are_seen_before_they_are_durable(tmp_path: Path) -> None:
    half = Turn(text="The first half of it and more", chunk=8, fault=Hang(after_events=3, times=1))
    async with scene([half], url=url(tmp_path), seconds=30) as s:
        await job(s, tmp_path / "w")
        async with watching(s.runtime) as person:
            await person.sees("The first half")
            assert "model.finished" not in await s.kinds()
            await person.presses("ctrl+x")
            await person.sees("abort the run?")
            await person.presses("n")
            await person.sees_no_more("abort the run?")
            assert "abort.requested" not in await s.kinds()
            await person.presses("ctrl+x")
            await person.sees("abort the run?")
            await person.presses("y")
            await person.ends("aborted")
            await person.sees("■ aborted  a person who watched it")


@pytest.mark.requirement("cli:watch-speaks")
async def test_what_is_said_in_the_steer_box_reaches_the_model_at_its_next_step_or_at_its_end(tmp_path: Path) -> None:
    opened = gate(tmp_path / "w")
    script = [*GATED, Turn(text="Heard later.")]
    async with scene(script, url=url(tmp_path), seconds=30) as s, s.other() as other:
        await job(s, tmp_path / "w")
        async with watching(other) as person:
            await person.sees("▷ bash")
            await person.presses("s")
            await person.types("Use tabs")
            await person.presses("enter")
            await person.sees("» Use tabs  on its way")
            await person.types("Then rest")
            await person.presses("ctrl+f")
            await person.sees("» Then rest  on its way")
            assert len(s.server.requests) == 1
            opened.write_text("\n")
            await person.ends("completed")
            await person.sees("» steer  Use tabs", "⊕ follow-up  Then rest")
            assert "on its way" not in person.screen
        said = [[m["content"] for m in request if m["role"] == "user"] for request in asked(s.server)]
        assert said[1:] == [["go", "Use tabs"], ["go", "Use tabs", "Then rest"]]


@pytest.mark.requirement("cli:watch-speaks")
async def test_words_to_a_session_that_is_over_are_kept_in_the_box_and_it_says_what_to_do(tmp_path: Path) -> None:
    async with scene([Turn(text="Yes.")], url=url(tmp_path), seconds=30) as s:
        await soon((await job(s, tmp_path / "w")).result())
        before = await s.kinds()
        async with watching(s.runtime) as person:
            await person.presses("s")
            await person.types("hello")
            await person.presses("enter")
            await person.until(lambda: "no run is open" in notes(person.app), "it is not said")
            await person.sees("▸ hello")
            await person.presses("escape", "y", "ctrl+x")
        assert await s.kinds() == before


@pytest.mark.requirement("cli:watch-approves")
async def test_calls_that_wait_are_answered_once_for_always_and_no_with_a_reason(tmp_path: Path) -> None:
    async with scene(ASKS, url=url(tmp_path), seconds=30) as s, s.other() as other:
        await job(s, tmp_path / "w", mode="ask")
        async with watching(other) as person:
            await person.is_asked("allow bash?", "echo one >> log", "y once", "◐ waits for your word")
            await person.presses("y")
            await person.is_asked("allow bash?", "echo two >> log")
            await person.presses("n")
            await person.sees("why not?")
            await person.types("it is Sunday")
            await person.presses("enter")
            await person.ends("completed")
            assert "allow bash?  " not in person.screen
        assert (tmp_path / "w" / "log").read_text() == "one\n"
        assert "it is Sunday" in json.dumps(asked(s.server)[-1])


@pytest.mark.requirement("cli:watch-approves")
async def test_always_allows_the_tool_from_now_on(tmp_path: Path) -> None:
    async with scene(ASKS, url=url(tmp_path), seconds=30) as s, s.other() as other:
        await job(s, tmp_path / "w", mode="ask")
        async with watching(other) as person:
            await person.is_asked("allow bash?")
            await person.presses("a")
            await person.ends("completed")
        answers = [event.data.content for event in await s.log() if isinstance(event.data, WaitResolved)]
        assert answers == ["always"]
    assert (tmp_path / "w" / "log").read_text() == "one\ntwo\n"


@pytest.mark.requirement("cli:watch-approves")
async def test_a_key_that_was_meant_for_something_else_does_not_answer_a_question_that_just_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.cli.watch.app._GRACE", 3600)
    async with scene(ASKS, url=url(tmp_path), seconds=30) as s, s.other() as other:
        await job(s, tmp_path / "w", mode="ask")
        async with watching(other) as person:
            await person.until(lambda: person.app.question is not None, "nothing is asked")
            await person.presses("y", "a", "enter")
            await person.sees("allow bash?", "echo one")
            assert len(person.watched.questions) == 1
            monkeypatch.setattr("holdfast.cli.watch.app._GRACE", 0.4)
            await person.is_asked("allow bash?", "echo one")
        assert "wait.resolved" not in await s.kinds()


@pytest.mark.requirement("cli:watch-goes-on")
async def test_a_run_that_nobody_drives_says_so_and_goes_on_here_when_a_person_wants_it(tmp_path: Path) -> None:
    read = Turn(text="Look.", calls=[Call("read", {"path": "note"})])
    script = [read, bash("read -r _ < gate"), Turn(text="Over at last.")]
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "note").write_text("x\n")
    gate(tmp_path / "w")
    async with scene(script, url=url(tmp_path), seconds=30) as s:
        async with s.other() as gone:
            run = await job(replace(s, runtime=gone), tmp_path / "w")
            async with watching(s.runtime) as person:
                await person.sees("▷ bash")
        async with watching(s.runtime) as person:
            await person.sees("○ open, nobody drives it: c goes on here")
            await person.presses("c")
            await person.ends("completed")
            await person.sees("? bash", "outcome unknown", "Over at last.")
        assert (await soon(s.runtime.run("s", run.key).result())).output == "Over at last."


@pytest.mark.requirement("cli:approval-whole")
async def test_a_call_that_does_not_fit_the_line_of_the_question_says_which_event_shows_it(tmp_path: Path) -> None:
    script = [bash(f"echo one{' ' * 20_000}; echo two"), bash("echo three"), Turn(text="Over.")]
    async with scene(script, url=url(tmp_path), seconds=30) as s, s.other() as other:
        await job(s, tmp_path / "w", mode="ask")
        async with watching(other) as person:
            await person.is_asked("allow bash?", "echo one …", "not all of it is shown here: see event ")
            await person.presses("n")
            await person.sees("why not?")
            await person.presses("enter")
            await person.is_asked("allow bash?", "echo three")
            assert "not all of it" not in person.screen
