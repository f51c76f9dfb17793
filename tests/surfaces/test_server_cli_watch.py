"""`holdfast runs watch --server`: the same screen, of a session that a server drives."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from tests.reaching import at_server, caller
from tests.running import asked, scene, soon
from tests.surfaces.commands import bash, shell
from tests.surfaces.distant import distant
from tests.surfaces.watching import job, notes, watching

from holdfast.cli.reaching.local import LocalSessions
from holdfast.cli.reaching.port import Terms
from holdfast.cli.reaching.remote import RemoteSessions
from holdfast.testing import Call, Turn
from holdfast.testing.faults import Hang
from holdfast.types import Limits, Text

ASKS = [bash("echo one >> log"), bash("echo two >> log"), Turn(text="All done.")]
GATED = [bash("read -r _ < gate"), Turn(text="I am *through*."), Turn(text="Heard later.")]


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/s.db"


def gate(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    os.mkfifo(folder / "gate")
    return folder / "gate"


@pytest.mark.requirement("server_cli:same-watch")
@pytest.mark.parametrize("columns", [120, 60])
async def test_the_screen_of_a_session_at_a_server_is_that_of_one_in_a_store(tmp_path: Path, columns: int) -> None:
    write = Turn(text="I write.", calls=[Call("write", {"path": "a.txt", "content": "one\ntwo\n"})])
    script = [write, bash("cat a.txt"), Turn(text="# Done\n\nIt says *one* and `two`.")]
    async with scene(script, url=url(tmp_path), seconds=30) as s, at_server(s) as (sessions, _):
        await soon((await job(s, tmp_path / "w")).result())
        screens: list[list[str]] = []
        for each in (LocalSessions(s.runtime, s.url), sessions):
            seen: list[str] = []
            async with watching(each, columns=columns) as person:
                await person.ends("completed")
                await person.sees("✓ completed", "── completed")
                seen.append(person.screen)
                await person.selects("tool.finished", 1)
                seen.append(person.screen)
                await person.presses("d")
                await person.sees("files from the beginning")
                seen.append(person.screen)
            screens.append(seen)
        assert screens[0] == screens[1]


@pytest.mark.requirement("server_cli:same-watch")
async def test_words_at_a_server_are_seen_before_they_are_durable_as_they_are_here(tmp_path: Path) -> None:
    half = Turn(text="The first half of it and more", chunk=8, fault=Hang(after_events=3, times=1))
    async with scene([half], url=url(tmp_path), seconds=30) as s, at_server(s) as (sessions, _):
        await job(s, tmp_path / "w")
        screens: list[str] = []
        for each in (LocalSessions(s.runtime, s.url), sessions):
            async with watching(each) as person:
                screens.append(await person.sees("The first half", "● running"))
                assert "model.finished" not in await s.kinds()
        assert screens[0] == screens[1]
        async with watching(sessions) as person:
            await person.presses("ctrl+x")
            await person.sees("abort the run?")
            await person.presses("y")
            await person.ends("aborted")
            await person.sees("■ aborted  a person who watched it")


@pytest.mark.requirement("server_cli:watch-others")
async def test_runs_that_another_client_starts_are_followed_one_after_another(tmp_path: Path) -> None:
    opened = gate(tmp_path / "w")
    async with scene(GATED, url=url(tmp_path), seconds=30) as s, at_server(s) as (sessions, _):
        await job(s, tmp_path / "w")
        async with watching(sessions) as person:
            await person.sees("run 1", "▸ go", "▷ bash read -r _ < gate", "● running")
            opened.write_text("\n")
            await person.ends("completed")
            await person.sees("✓ bash", "I am through.", "✓ completed", "2 steps")
            await job(s, tmp_path / "w", prompt="once more")
            await person.sees("run 2", "▸ once more", "Heard later.")
            await person.ends("completed")
            assert [row.seq for row in person.watched.rows.rows if row.seq] == [e.seq for e in await s.log()]


@pytest.mark.requirement("server_cli:watch-speaks")
async def test_what_is_said_to_a_run_at_a_server_is_heard_at_its_next_step_or_at_its_end(tmp_path: Path) -> None:
    opened = gate(tmp_path / "w")
    async with scene(GATED, url=url(tmp_path), seconds=30) as s, at_server(s) as (sessions, _):
        await job(s, tmp_path / "w")
        async with watching(sessions) as person:
            await person.sees("▷ bash")
            await person.presses("s")
            await person.types("Use tabs")
            await person.presses("enter")
            await person.until(lambda: "said: heard at the next step" in notes(person.app), "it is not said")
            await person.until(lambda: person.app.focused.value == "", "the box is not empty")  # type: ignore[union-attr]
            await person.types("Then tidy up")
            await person.presses("ctrl+f")
            await person.until(lambda: "follow-up is queued" in notes(person.app), "it is not queued")
            opened.write_text("\n")
            await person.ends("completed")
        words = [message["content"] for message in asked(s.server)[-1] if message["role"] == "user"]
        assert words == ["go", "Use tabs", "Then tidy up"]


@pytest.mark.requirement("server_cli:watch-approves")
async def test_calls_that_wait_at_a_server_are_answered_once_and_no_with_a_reason(tmp_path: Path) -> None:
    async with scene(ASKS, url=url(tmp_path), seconds=30) as s, at_server(s) as (sessions, _):
        await job(s, tmp_path / "w", mode="ask")
        async with watching(sessions) as person:
            await person.is_asked("allow bash?", "echo one >> log", "y once", "◐ waits for your word")
            await person.presses("y")
            await person.is_asked("allow bash?", "echo two >> log")
            await person.presses("n")
            await person.sees("why not?")
            await person.types("it is Sunday")
            await person.presses("enter")
            await person.ends("completed")
        assert (tmp_path / "w" / "log").read_text() == "one\n"
        assert "it is Sunday" in json.dumps(asked(s.server)[-1])


@pytest.mark.requirement("server_cli:watch-goes-back")
async def test_a_session_at_a_server_is_forked_and_rewound_from_the_screen(tmp_path: Path) -> None:
    write = Turn(calls=[Call("write", {"path": "a.txt", "content": "one\n"})])
    async with scene([write, Turn(text="Done.")], url=url(tmp_path), seconds=30) as s, at_server(s) as (sessions, _):
        await soon((await job(s, tmp_path / "w")).result())
        async with watching(sessions) as person:
            await person.ends("completed")
            at = await person.selects("tool.finished")
            await person.presses("f")
            await person.sees(f"fork at event {at}")
            await person.types("child")
            await person.presses("enter")
            await person.sees("watch the fork?")
            await person.presses("y")
            await person.until(lambda: person.watched.session == "child", "the fork is not watched")
        async with watching(sessions) as person:
            await person.ends("completed")
            await person.selects("input.received")
            await person.presses("r")
            await person.sees("back to event 1?", "put back  a.txt")
            await person.presses("y")
            await person.until(lambda: "back at event 1" in notes(person.app), "it is not taken back")
        assert not (tmp_path / "w" / "a.txt").exists()


@pytest.mark.requirement("server_cli:watch-chooses")
async def test_without_a_name_the_sessions_of_the_server_are_there_to_choose_from(tmp_path: Path) -> None:
    async with scene(lambda _: Turn(text="Yes."), url=url(tmp_path), seconds=30) as s, at_server(s) as (sessions, _):
        for name in ("one", "two"):
            await soon((await job(s, tmp_path / "w", session=name, prompt=f"say {name}")).result())
        screens: list[str] = []
        for each in (LocalSessions(s.runtime, s.url), sessions):
            async with watching(each, None) as person:
                screens.append(await person.sees("sessions, newest first", "say one", "say two"))
        assert screens[0] == screens[1]


@pytest.mark.requirement("server_cli:restart", "server_cli:reconnect")
async def test_a_server_that_is_killed_while_it_is_watched_is_waited_for_and_nothing_is_doubled(
    tmp_path: Path,
) -> None:
    words = "The first part.\n\nThe second part.\n\nThe end of it."
    half = Turn(text=words, chunk=8, fault=Hang(after_events=5, times=1))
    with shell(tmp_path, [half]) as sh, distant(sh) as there:
        server = caller(there.url)
        sessions = RemoteSessions(server)
        terms = Terms("", "auto", tmp_path, Limits(), agent="coder")
        await sessions.start(terms, [Text("go")], session="s")
        async with watching(sessions) as person:
            await person.sees("The first part.", "● running")
            there.is_killed()
            await person.sees("the server is away")
            await asyncio.to_thread(there.begins)
            await person.ends("completed")
            screen = await person.sees("The end of it.", "✓ completed")
            answer = "\n".join(line[line.find("│") :] if "│" in line else line for line in screen.splitlines())
            assert answer.count("The second part.") == 1, screen
            assert notes(person.app).count("is away") == notes(person.app).count("is back") == 1
            seqs = [event.seq for event in person.watched.events]
            assert seqs == list(range(1, len(seqs) + 1))
            assert [event.seq async for event in sessions.events("s")] == seqs
        await server.close()
