"""A call whose files were put back is told from one whose files stay, wherever its line is shown."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from holdfast.cli.screen import Screen
from holdfast.cli.timeline import Timeline
from holdfast.cli.watch.details import details_of
from holdfast.cli.watch.rows import Rows, line_of
from holdfast.engine.events import ModelFinished, ToolFinished, ToolStarted
from holdfast.tools.results import rolled_back, unknown_outcome
from holdfast.types import AssistantMessage, CallId, Effect, Event, EventId, Payload, ToolCall, Usage


def log_of(undone: bool) -> list[Event]:
    call = ToolCall(CallId("c"), "bash", '{"command":"make"}')
    payloads: list[Payload] = [
        ModelFinished(AssistantMessage((call,), "openai/scripted", "tool_calls", Usage(1, 1)), 1),
        ToolStarted(call.id, Effect(workspace=True, outside="unsafe")),
        ToolFinished(call.id, rolled_back(unknown_outcome("bash", "")), rolled_back=undone),
    ]
    return [
        Event(seq=seq, id=EventId(f"e{seq}"), type=data.type, at=seq, epoch=1, data=data)
        for seq, data in enumerate(payloads, 1)
    ]


def in_a_run(console: Console, log: list[Event]) -> None:
    screen = Screen(console)
    for event in log:
        screen.see(event)


def in_the_timeline(console: Console, log: list[Event]) -> None:
    timeline = Timeline(console, 3)
    for event in log:
        timeline.print(event)


def in_a_row(console: Console, log: list[Event]) -> None:
    console.print(line_of(Rows(log).rows[-1], 3, 100))


def in_its_details(console: Console, log: list[Event]) -> None:
    console.print(*details_of(Rows(log).rows[-1])[:1])


@pytest.mark.requirement("sandbox:rollback-after-failed-tool")
@pytest.mark.parametrize("shown", [in_a_run, in_the_timeline, in_a_row, in_its_details])
def test_its_line_says_so(shown: Callable[[Console, list[Event]], None]) -> None:
    said: list[bool] = []
    for undone in (True, False):
        console = Console(file=io.StringIO(), width=100)
        shown(console, log_of(undone))
        assert isinstance(console.file, io.StringIO)
        said.append("rolled back" in console.file.getvalue())
    assert said == [True, False]
