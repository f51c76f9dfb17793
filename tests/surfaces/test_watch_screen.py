"""`holdfast runs watch`: its screen at every size and ground, with very much on it, and with hostile words."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from rich.text import Text
from tests.running import scene, soon
from tests.surfaces.watching import Viewer, job, notes, watching
from textual.binding import Binding

from holdfast.cli.watch.app import SteerBox, WatchApp
from holdfast.cli.watch.dialogs import Choice, Confirm, Fill, Sheet
from holdfast.cli.watch.status import help_lines
from holdfast.cli.watch.timeline import TimelinePane
from holdfast.engine.events import (
    CODEC,
    InputReceived,
    ModelFinished,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
)
from holdfast.engine.letters import Setup
from holdfast.errors import UsageError
from holdfast.journal.port import Journal, Record
from holdfast.runtime.runtime import Runtime
from holdfast.testing import Call, Turn
from holdfast.types import (
    AssistantMessage,
    BatchId,
    CallId,
    Digest,
    Effect,
    Event,
    EventId,
    Payload,
    StreamId,
    ToolCall,
    ToolResult,
    Usage,
    UserMessage,
    WorkerId,
)
from holdfast.types import Text as Said

HOSTILE = (
    "[bold red]x[/] [link=https://evil]y[/link] [@click=app.leave]z[/] \x1b[2J\x1b]0;owned\x07\x9b31m \u202egnp.exe {0}"
)
SHOWN = "[bold red]x[/] [link=https://evil]y[/link] [@click=app.leave]z[/]"


def log_of(steps: int) -> list[Payload]:
    """Returns a run of so many steps, each a read of a file."""
    setup = Setup(Digest("0" * 64), "openai/scripted")
    log: list[Payload] = [InputReceived("prompt", UserMessage((Said("go"),)), setup), RunStarted(1, setup)]
    for step in range(steps):
        call = ToolCall(CallId(f"c{step}"), "read", f'{{"path":"file-{step}.py"}}')
        words = Said(f"I **read** file {step}:\n\n- one\n- two\n")
        log.append(
            ModelFinished(AssistantMessage((words, call), "openai/scripted", "tool_calls", Usage(100, 20)), 1000)
        )
        log.append(ToolStarted(call.id, Effect(outside="none")))
        log.append(ToolFinished(call.id, ToolResult("line\n" * 20, metadata={"ui": "code", "lineCount": 20}), 2000))
    return [*log, RunFinished("completed", steps=steps, usage=Usage(100 * steps, 20 * steps), cost=1000 * steps)]


async def keep(journal: Journal, payloads: list[Payload], session: str = "s") -> None:
    """Writes a log."""
    stream = StreamId(f"local/{session}")
    claim = await journal.claim(stream, WorkerId("w"), 10**9)
    records: list[Record] = []
    for seq, data in enumerate(payloads, 1):
        must = data.must_understand
        event = Event(seq=seq, id=EventId(f"e{seq}"), type=data.type, at=seq, epoch=1, must_understand=must, data=data)
        records.append(Record(seq, data.type, CODEC.encode(event)))
    await journal.append(stream, claim.head.epoch, 0, BatchId("b"), records)
    await journal.release(stream, claim.head.epoch)


@pytest.mark.requirement("cli:watch-scale")
async def test_ten_thousand_events_open_within_two_seconds_and_only_those_in_sight_are_drawn(tmp_path: Path) -> None:
    async with Runtime.open(f"sqlite:///{tmp_path}/s.db") as runtime:
        await keep(runtime.journal, log_of(3333))
        begun = time.process_time()
        async with watching(runtime) as person:
            await person.sees("10002", "✓ completed", "step 3333")
            took = time.process_time() - begun
            assert took < 2, f"opening took {took:.2f} s"
            begun = time.process_time()
            for _ in range(20):
                await person.presses("pageup")
            await person.presses("home")
            await person.sees("── run 1", "1 input.received", "▸ go")
            await person.presses("end")
            await person.sees("10002 run.finished")
            took = time.process_time() - begun
            assert took < 4, f"22 pages took {took:.2f} s"
            assert len(person.app.query_one(TimelinePane)._kept) <= 512


@pytest.mark.requirement("cli:watch-untrusted")
async def test_hostile_words_are_shown_as_words_wherever_they_stand(tmp_path: Path) -> None:
    calls = [Call("bash", {"command": f"echo '{HOSTILE}'"}), Call("no[bold]tool\x1b[2J", {"a": HOSTILE})]
    script = [Turn(text=f"{HOSTILE}", thinking=HOSTILE, calls=calls), Turn(text=f"```\n{HOSTILE}\n```")]
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db", seconds=40) as s:
        await soon((await job(s, tmp_path / "w", prompt=HOSTILE)).result())
        async with watching(s.runtime, columns=220, rows=60) as person:
            await person.sees(SHOWN)
            for event in list(person.watched.events):
                person.app.query_one(TimelinePane).select(event.seq)
                await person.sees(f"{event.seq} {event.type}")
                harmless(person)
            person.app._complain(UsageError(HOSTILE))
            await person.until(lambda: SHOWN in notes(person.app), "it is not said")
            harmless(person)
            await person.presses("o")
            await person.sees("sessions, newest first", SHOWN)
            harmless(person)
            assert person.app.is_running


def harmless(person: Viewer) -> None:
    text = person.screen
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    for strip in person.app.screen._compositor.render_strips():
        for segment in strip:
            style = segment.style
            assert style is None or not style.link or "evil" not in style.link
            assert style is None or "@click" not in style.meta


@pytest.mark.requirement("cli:watch-screen")
@pytest.mark.parametrize(("columns", "rows"), [(200, 60), (80, 24), (60, 20), (40, 12)])
@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_it_is_usable_at_every_size_on_dark_and_light_ground(
    columns: int, rows: int, theme: str, tmp_path: Path
) -> None:
    async with Runtime.open(f"sqlite:///{tmp_path}/s.db") as runtime:
        await keep(runtime.journal, log_of(12))
        async with watching(runtime, columns=columns, rows=rows, theme=theme) as person:
            screen = await person.sees("✓ completed", "step 12", "▸ say something to the run", "? keys")
            assert max(map(len, screen.splitlines())) <= columns
            await person.presses("enter")
            await person.sees("39 run.finished", "ended   completed", "steps   12")
            await person.presses("escape", "w")
            await person.sees("answer", "I read file 11:")
            await person.presses("escape", "t")
            other = "light" if theme == "dark" else "dark"
            await person.until(lambda: person.app.theme == f"holdfast-{other}", "the ground stays")
            await person.sees("step 12")


@pytest.mark.requirement("cli:watch-screen")
async def test_no_color_takes_all_colours_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with Runtime.open(f"sqlite:///{tmp_path}/s.db") as runtime:
        await keep(runtime.journal, log_of(3))
        async with watching(runtime) as person:
            await person.sees("✓ completed")
            colours = {
                colour.triplet
                for strip in person.app.screen._compositor.render_strips()
                for segment in strip
                if segment.style is not None
                for colour in (segment.style.color, segment.style.bgcolor)
                if colour is not None and colour.triplet is not None
            }
            assert colours
            assert all(max(each) - min(each) <= 1 for each in colours), "grey only"


@pytest.mark.requirement("cli:watch-screen")
async def test_every_key_is_on_the_page_of_keys_and_every_key_there_does_something(tmp_path: Path) -> None:
    names = {
        "question_mark": "?", "ctrl+c": "Ctrl-C", "ctrl+f": "Ctrl-F", "ctrl+x": "Ctrl-X", "escape": "Esc",
        "enter": "Enter", "up": "↑", "down": "↓", "pageup": "PgUp", "pagedown": "PgDn", "space": "Space",
        "home": "Home", "end": "End", "left_square_bracket": "[", "right_square_bracket": "]", "ctrl+q": "Ctrl-Q",
    }  # fmt: skip
    bound = {
        names.get(key, key)
        for each in (*WatchApp.BINDINGS, *TimelinePane.BINDINGS, *SteerBox.BINDINGS)
        if isinstance(each, Binding)
        for key in each.key.split(",")
    }
    page = Text("\n").join(help_lines()).plain
    said = {word for line in page.splitlines() if line.startswith("  ") for word in line[2:20].split()}
    assert said - {"Tab", "Shift-Tab"} == bound
    async with Runtime.open(f"sqlite:///{tmp_path}/s.db") as runtime:
        await keep(runtime.journal, log_of(1))
        async with watching(runtime, rows=50) as person:
            await person.presses("question_mark")
            await person.sees("keys", "fork from the event", "leave; the run goes on where it is driven")
            await person.presses("escape")
            await person.sees_no_more("fork from the event")
            for dialog in (Choice, Confirm, Fill, Sheet):
                assert any("escape" in each.key for each in dialog.BINDINGS if isinstance(each, Binding))


@pytest.mark.requirement("cli:watch-screen")
async def test_without_a_session_it_asks_which_and_another_can_be_chosen_later(tmp_path: Path) -> None:
    async with Runtime.open(f"sqlite:///{tmp_path}/s.db") as runtime:
        await keep(runtime.journal, log_of(1), "first")
        await keep(runtime.journal, log_of(2), "second")
        async with watching(runtime, None) as person:
            screen = await person.sees("sessions, newest first", "first", "second", "completed")
            assert re.search(r"second .*\n.*first ", screen)
            await person.presses("j", "enter")
            await person.sees("─ first ", "steps   1")
            await person.presses("o")
            await person.sees("sessions, newest first")
            await person.presses("enter")
            await person.sees("─ second ", "steps   2")
        async with watching(runtime, None) as person:
            await person.sees("sessions, newest first")
            await person.presses("escape")
            await person.until(lambda: not person.app.is_running or person.app._exit, "it stays open")
