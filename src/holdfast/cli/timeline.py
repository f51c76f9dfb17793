"""A session's log, one line for each event, printed as it is read.

A line says what is new in the event; everything is in `runs show -o jsonl`. A rule marks where another owner,
usually another process, went on in the middle of something.
"""

from __future__ import annotations

from typing import cast

from rich.console import Console
from rich.text import Text

from holdfast.cli.hiding.masking import masked, masked_line
from holdfast.cli.learning.calls import Calls
from holdfast.cli.learning.waits import Waits
from holdfast.cli.outcomes import about, again, gist, mark_of, undone
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
    PhaseFailed,
    Rewound,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
    ToolWaiting,
    WaitResolved,
)
from holdfast.engine.folding import fold
from holdfast.engine.state import Run, State
from holdfast.sandbox.egress.answers import denials_of
from holdfast.types import Event, Unknown, session_of

__all__ = ("Timeline",)

_ENDS = {"completed": "green", "failed": "red"}


class Timeline:
    """Prints the events of one session."""

    def __init__(self, console: Console, last: int) -> None:
        """Prints to the console; `last` is the highest number there will be."""
        self._console = console
        self._digits = max(3, len(str(last)))
        self._calls = Calls()
        self._waits = Waits()
        self._takeovers = Takeovers()
        self._run: RunStarted | None = None
        self._reserved: Event | None = None
        """What is reserved for the model call under way."""

    def print(self, event: Event) -> None:
        """Prints one event."""
        self._calls.learn(event)
        self._waits.learn(event)
        if isinstance(event.data, RunStarted):
            self._run = event.data
        if self._takeovers.see(event):
            self._console.print(
                Text(f"{'':>{self._digits}}  ── epoch {event.epoch}: another owner goes on ──", "magenta")
            )
        line = Text.assemble(
            (f"{event.seq:>{self._digits}}  {clock_time(event.at)}  ", "dim"),
            f"{one_line(event.type, 24):<15}  ",
            masked_line(self._what(event)),
        )
        line.truncate(self._console.width, overflow="ellipsis")
        line.rstrip()
        self._console.print(line, no_wrap=True, overflow="ignore", crop=False)
        if isinstance(event.data, ToolFinished):
            self._refused(event.data)
        if isinstance(event.data, (ModelStarted, ModelFinished, ModelFailed)):
            self._reserved = event if isinstance(event.data, ModelStarted) else None

    def _refused(self, data: ToolFinished) -> None:
        """Prints below a call where its command was not let, and why."""
        records = data.result.metadata.get("egress")
        for each in denials_of(cast("list[object]", records)) if isinstance(records, list) else ():
            line = Text.assemble(f"{'':>{self._digits + 33}}", ("⊘ ", "yellow"), one_line(masked(each)))
            line.truncate(self._console.width, overflow="ellipsis")
            self._console.print(line, no_wrap=True, overflow="ignore", crop=False)

    def _what(self, event: Event) -> Text:
        match event.data:
            case InputReceived() as data:
                return Text.assemble((f"{data.kind}  ", "cyan"), one_line(data.message.text))
            case RunStarted() as data:
                lineage = data.setup.lineage
                above = "" if lineage is None else f"  for {session_of(lineage.parent)}"
                return Text.assemble(data.setup.model or "pipeline", (f"{above}  {data.setup.workspace}", "dim"))
            case ModelFinished() as data:
                return self._answer(data)
            case ModelFailed() as data:
                return self._failed(event, data)
            case ToolStarted() as data:
                undo = ", files can be put back" if data.snapshot else ""
                return self._call(data.call_id).append(f"  outside: {data.effect.outside}{undo}", "dim")
            case ToolFinished() as data:
                return self._outcome(data)
            case RunFinished() as data:
                status = (data.status, _ENDS.get(data.status, "yellow"))
                figures = f"  {count(data.steps, 'step')} · {money(data.cost, most=data.usage.estimated)}"
                return Text.assemble(status, f"  {one_line(data.reason)}" if data.reason else "", (figures, "dim"))
            case _:
                return self._rare(event)

    def _rare(self, event: Event) -> Text:
        match event.data:
            case InputApplied() as data:
                return Text(f"event {data.input} joins the conversation", "dim")
            case ModelStarted() as data:
                cost = "" if data.cost is None else f" · {money(data.cost)}"
                return Text(f"reserves {count(data.tokens, 'token')}{cost}", "dim")
            case CallReopened() as data:
                said = again(saved=self._calls.saved(data.call_id))
                return self._call(data.call_id).append(f"  {said}", "dim")
            case ToolWaiting() as data:
                what = data.wait.token if data.wait.kind != "child" else f"{data.wait.subject}  {data.wait.prompt}"
                return Text.assemble((f"for {data.wait.kind}  ", "yellow"), one_line(what))
            case WaitResolved() as data:
                note = f"  {said}" if (said := self._waits.fallen_back(data)) else ""
                return Text.assemble(f"{one_line(data.token)}", (note, "yellow"), "  ", (reply(data), "dim"))
            case PhaseFailed() as data:
                return _of_session(event).append(f"  {self._waits.fallen_back(data)}".rstrip(), "yellow")
            case AbortRequested() as data:
                return Text(one_line(data.reason), "yellow")
            case _:
                return _of_session(event)

    def _answer(self, data: ModelFinished) -> Text:
        words = one_line(data.message.text, 160)
        calls = ", ".join(one_line(call.name, 60) for call in data.message.calls)
        figures = f"{seconds(data.duration / 1e6)} · {money(data.cost, most=data.message.usage.estimated)}"
        # What it does comes first: what it says may be long.
        parts = [Text(calls, "bold"), Text(self._other(data.message.model), "cyan"), Text(figures, "dim"), Text(words)]
        return Text("  ").join(part for part in parts if part.plain)

    def _other(self, model: str) -> str:
        """Returns who answered, where that is not the one model that the run named; empty otherwise."""
        return "" if self._run is None or model == self._run.setup.model else model_name(model)

    def _failed(self, event: Event, data: ModelFailed) -> Text:
        code, charged, words = (f"{data.code}  ", "yellow"), (self._charged(event), "dim"), one_line(data.message)
        if other := seam(data):  # which comes first, as what was said of it may be long
            return Text.assemble((f"{other}  ", "cyan"), code, charged, (words, "dim"))
        return Text.assemble(code, charged, words, (f"  {said}" if (said := onward(data)) else "", "dim"))

    def _charged(self, event: Event) -> str:
        """What a model call that failed is charged, as the fold has it, which is what the limits go by."""
        if self._run is None:
            return ""
        run = Run(0, self._run, "", 0)
        state = State(run=run)
        for each in (self._reserved, event):
            if each is not None:
                fold(state, each)
        if not run.tokens and not run.cost:
            return ""
        cost = f" · {money(run.cost)}" if run.cost != 0 else ""
        return f"charged {count(run.tokens, 'token')}{cost}  "

    def _outcome(self, data: ToolFinished) -> Text:
        call = self._calls.get(data.call_id)
        name = one_line(call.name, 60) if call else "?"
        words = gist(data.result)
        return Text.assemble(
            mark_of(data.result),
            (f" {name}", "bold"),
            (f"  {seconds(data.duration / 1e6)}{undone(data)}  {words}", "dim"),
        )

    def _call(self, call_id: str) -> Text:
        call = self._calls.get(call_id)
        return Text("?") if call is None else Text.assemble((one_line(call.name, 60), "bold"), f" {about(call)}")


def _of_session(event: Event) -> Text:
    match event.data:
        case Forked() as data:
            return Text(f"from {data.parent or 'a file'} at {data.at}")
        case Rewound() as data:
            return Text(f"to {data.to}")
        case Unknown() as data:
            return _unknown(event, data)
        case data:
            said = happening(data)
            return Text() if said is None else said[2]


def _unknown(event: Event, data: Unknown) -> Text:
    raw = one_line(bytes(data.raw).decode("utf-8", "replace"))
    must = ("unknown, must be understood: this version cannot go on with the session  ", "red")
    return Text.assemble(must if event.must_understand else ("unknown to this version  ", "yellow"), (raw, "dim"))
