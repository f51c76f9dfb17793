"""A session's events as rows of a timeline: grouped by run and step, each with a sign and one line of words.

Rows are made once for each event and hold no drawing: what a row looks like is asked for when it is on the screen, so
that a long session costs no more to show than a short one. Not here: widgets and keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import msgspec
from rich.text import Text

from holdfast.cli.hiding.masking import masked_line
from holdfast.cli.learning.calls import Calls
from holdfast.cli.outcomes import about, diff_of, gist, mark_of, undone
from holdfast.cli.rendering.diffs import tally
from holdfast.cli.rendering.happenings import happening, onward, reply, seam
from holdfast.cli.rendering.takeovers import Takeovers
from holdfast.cli.words import clock_time, count, model_name, money, one_line, seconds
from holdfast.engine.events import (
    AbortRequested,
    CallReopened,
    Forked,
    InputApplied,
    InputReceived,
    ModelFailed,
    ModelFinished,
    ModelStarted,
    ReviewRequested,
    Rewound,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
    ToolWaiting,
    WaitResolved,
)
from holdfast.types import Event, ToolCall, ToolResult

__all__ = ("Row", "Rows", "came_to", "line_of")

_INPUTS = {"prompt": "▸", "steer": "»", "follow_up": "⊕", "proceed": "▸"}
_ENDS = {"completed": ("✓", "green"), "failed": ("✗", "red")}
_CLOCK_WIDTH, _FIGURES_WIDTH = 40, 56
"""Columns from which on there is room for the time of day, and for figures at the right."""


class Row(msgspec.Struct):
    """One line of the timeline."""

    event: Event | None = None
    """None for a heading."""
    words: str = ""
    """Of a heading."""
    call: ToolCall | None = None
    """What the event is about, if it is about a call."""
    step: int = 0
    """How many answers the model had given in this run by then."""
    served: str = ""
    """Who gave an answer, where that is not the one model that the run named."""
    gone: bool = False
    """Whether a rewind took it out of the conversation."""

    @property
    def seq(self) -> int:
        """The event's number; 0 for a heading."""
        return 0 if self.event is None else self.event.seq


@final
class Rows:
    """All rows of a session, in the log's order."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.rows: list[Row] = []
        self.waiting: dict[str, int] = {}
        """The number of the event with which each token began to be waited for."""
        self._calls = Calls()
        self._runs = 0
        self._open = False
        self._step = 0
        self._named = ""
        self._takeovers = Takeovers()
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Takes one event more."""
        self._headings(event)
        self._calls.learn(event)
        row = Row(event, step=self._step)
        match event.data:
            case RunStarted() as data:
                self._open, self._step, self._named = True, 0, data.setup.model
            case RunFinished():
                self._open = False
            case ModelFinished() as data:
                self._step += 1
                row.step = self._step
                row.served = "" if data.message.model == self._named else data.message.model
            case Rewound() as data:
                self._open = False
                for each in reversed(self.rows):
                    if each.event is not None and each.seq <= data.to:
                        break
                    each.gone = True
            case Forked():
                self._open = False
            case _:
                row.call = self._call(event)
        self.rows.append(row)

    def _headings(self, event: Event) -> None:
        prompt = isinstance(event.data, InputReceived) and event.data.kind == "prompt"
        begins = prompt if not self._open else isinstance(event.data, RunStarted)
        started = isinstance(event.data, RunStarted) and not self._open and not self._prompt_above()
        if begins or started:
            self._runs += 1
            self.rows.append(Row(words=f"run {self._runs}"))
        if self._takeovers.see(event):
            self.rows.append(Row(words=f"epoch {event.epoch} goes on"))

    def _prompt_above(self) -> bool:
        """Whether the run that starts has its heading already, above the prompt that opened it."""
        last = self.rows[-1].event if self.rows else None
        return last is not None and isinstance(last.data, InputReceived)

    def _call(self, event: Event) -> ToolCall | None:
        match event.data:
            case ToolStarted() | ToolFinished() as data:
                return self._calls.get(data.call_id)
            case ToolWaiting() as data:
                self.waiting[data.wait.token] = event.seq
                return self._calls.get(data.call_id)
            case ReviewRequested() as data:
                self.waiting[data.wait.token] = event.seq
                return None
            case CallReopened() as data:
                return self._calls.get(data.call_id)
            case _:
                return None


def line_of(row: Row, digits: int, width: int) -> Text:
    """Returns a row as one line that is no wider than there is room, its numbers `digits` wide."""
    event = row.event
    if event is None:
        line = Text.assemble((f"── {row.words} ", "bold"), ("─" * max(0, width - len(row.words) - 4), "dim"))
    else:
        icon, style, words = _said(row, event)
        figures = _figures(event) if width >= _FIGURES_WIDTH else ""
        clock = f" {clock_time(event.at)[:8]}" if width >= _CLOCK_WIDTH else ""
        indent = "  " if isinstance(event.data, ToolStarted | ToolFinished | ToolWaiting | WaitResolved) else ""
        line = masked_line(words)
        line = Text.assemble((f"{event.seq:>{digits}}{clock} ", "dim"), indent, (icon, style), " ", line)
        if figures:
            line.truncate(width - len(figures) - 2, overflow="ellipsis", pad=True)
            line.append(f"  {figures}", "dim")
        if row.gone:
            line.stylize("dim strike", digits)
    line.truncate(width, overflow="ellipsis")
    line.no_wrap = True
    return line


def _said(row: Row, event: Event) -> tuple[str, str, Text]:
    """Returns an event's sign, the sign's colour, and its words."""
    match event.data:
        case InputReceived() as data:
            kind = "" if data.kind == "prompt" else f"{data.kind.replace('_', '-')}  "
            return _INPUTS[data.kind], "bold cyan", Text.assemble((kind, "cyan"), one_line(data.message.text))
        case ModelFinished() as data:
            return "◆", "bold blue", _answer(row, data)
        case ModelFailed() as data:
            return "!", "bold yellow", _failed(data)
        case ToolStarted():
            return "▷", "dim", _title(row)
        case ToolFinished() as data:
            sign, style = mark_of(data.result)
            said = (f"{undone(data)}  {came_to(data.result)}", "dim" if data.result.error is None else style)
            return sign, f"bold {style}", Text.assemble((one_line(_name(row), 60), "bold"), said)
        case ToolWaiting() as data:
            asks = f"{data.wait.kind}: " if data.wait.kind != "approval" else "allow? "
            return "◐", "bold yellow", Text.assemble((asks, "bold yellow"), _title(row))
        case RunFinished() as data:
            sign, style = _ENDS.get(data.status, ("■", "yellow"))
            why = f"  {one_line(data.reason, 120)}" if data.reason else ""
            steps = f"  {count(data.steps, 'step')}"
            return sign, f"bold {style}", Text.assemble((data.status, f"bold {style}"), why, (steps, "dim"))
        case _:
            return _rare(row, event)


def _rare(row: Row, event: Event) -> tuple[str, str, Text]:
    match event.data:
        case RunStarted() as data:
            return (
                "▶",
                "cyan",
                Text.assemble(one_line(data.setup.model or "pipeline", 60), (f"  {data.setup.mode}", "dim")),
            )
        case InputApplied() as data:
            return "↳", "cyan", Text(f"event {data.input} joins the conversation", "dim")
        case ModelStarted() as data:
            cost = "" if data.cost is None else f" · {money(data.cost)}"
            return "◇", "dim", Text(f"reserves {count(data.tokens, 'token')}{cost}", "dim")
        case WaitResolved() as data:
            return "↩", "yellow", Text(reply(data, 120))
        case AbortRequested() as data:
            return "■", "bold yellow", Text(f"abort  {one_line(data.reason, 120)}")
        case _:
            return _of_session(row, event)


def _of_session(row: Row, event: Event) -> tuple[str, str, Text]:
    match event.data:
        case CallReopened():
            return "↻", "magenta", _title(row).append("  runs again", "dim")
        case Forked() as data:
            parent = one_line(data.parent.partition("/")[2], 80) or "a file"
            return "⑂", "bold magenta", Text(f"fork of {parent} at {data.at}")
        case Rewound() as data:
            return "↶", "bold magenta", Text(f"back to event {data.to}")
        case data:
            unknown = Text(f"{one_line(event.type, 60)}  unknown to this version", "dim")
            return happening(data) or ("·", "yellow", unknown)


def _answer(row: Row, data: ModelFinished) -> Text:
    calls = ", ".join(one_line(call.name, 40) for call in data.message.calls)
    words = one_line(data.message.text, 160)
    parts = [
        Text(f"step {row.step}", "bold"),
        Text(model_name(row.served) if row.served else "", "cyan"),
        Text(calls, "blue"),
        Text(words),
    ]
    return Text("  ").join(part for part in parts if part.plain)


def _failed(data: ModelFailed) -> Text:
    code, words = (f"{data.code}  ", "yellow"), one_line(data.message)
    if other := seam(data):  # which comes first, as what was said of it may be long
        return Text.assemble((f"{other}  ", "cyan"), code, (words, "dim"))
    return Text.assemble(code, words, (f"  {said}" if (said := onward(data)) else "", "dim"))


def _figures(event: Event) -> str:
    """Returns what an event took, for the right edge."""
    match event.data:
        case ModelFinished() as data:
            cost = money(data.cost, most=data.message.usage.estimated, short=True)
            return f"{cost}  {seconds(data.duration / 1e6):>6}"
        case ToolFinished() as data if data.duration:
            return f"{seconds(data.duration / 1e6):>6}"
        case RunFinished() as data:
            return money(data.cost, most=data.usage.estimated, short=True)
        case _:
            return ""


def came_to(result: ToolResult) -> str:
    """Returns what a call came to on one line: of a command that went well its last words, of an edit its size."""
    said, note = result.content.rstrip().rpartition("\n")[::2]
    if result.error is None and result.metadata.get("ui") == "terminal" and note.startswith("[exit code 0"):
        return one_line(said.rstrip().rpartition("\n")[2], 160)
    if result.error is None and (diff := diff_of(result)):
        return tally(diff).plain
    return gist(result)


def _name(row: Row) -> str:
    return "?" if row.call is None else row.call.name


def _title(row: Row) -> Text:
    if row.call is None:
        return Text("?")
    return Text.assemble((one_line(row.call.name, 60), "bold"), " ", about(row.call))
