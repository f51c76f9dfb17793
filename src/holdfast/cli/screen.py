"""Draws a run as it happens: what the agent says, each call with its outcome and duration, cost, and how it ended.

Everything is lines that stay, so that it reads the same in a terminal, a log file and a bug report; on a terminal
a line below shows what is under way and for how long.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import AsyncIterator

from rich.console import Console
from rich.text import Text

from holdfast.cli.outcomes import about, mark_of, outcome
from holdfast.cli.terminal import LiveLine, Words, indented, reset_line, title
from holdfast.cli.words import count, money, one_line, printable, seconds
from holdfast.engine.events import (
    BudgetExhausted,
    CallReopened,
    InputApplied,
    InputReceived,
    ModelFailed,
    ModelFinished,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
    ToolWaiting,
)
from holdfast.runtime.opening import default_url
from holdfast.runtime.run import RunResult
from holdfast.types import Delta, Event, Reset, TextDelta, ToolCall, from_dollars

__all__ = ("EXIT_CODES", "Screen", "store_option")

EXIT_CODES = {"completed": 0, "failed": 1, "limited": 3, "aborted": 4}
_MARKS = {"completed": ("✓", "green"), "limited": ("■", "yellow"), "aborted": ("■", "yellow"), "failed": ("✗", "red")}
_WIDTH = 110
"""Columns after which a duration at the right would be too far from its call."""


class Screen:
    """Shows one run."""

    def __init__(self, console: Console, *, known: int = 0) -> None:
        """Shows what comes after event `known`; what comes before it is learned in silence."""
        self._console = console
        self._known = known
        self._calls: dict[str, ToolCall] = {}
        self._running: dict[str, float] = {}
        self._live = LiveLine(console)
        self._cost: int | None = 0
        self._tokens = 0
        self._said = ""
        self._failure: ModelFailed | None = None
        self._began: int | None = None
        self._ended = 0

    async def show(self, events: AsyncIterator[Event | Delta]) -> None:
        """Draws events until there are no more."""
        with self._live:
            self._live.show("starting")
            async for event in events:
                self.see(event)

    def note(self, words: str) -> None:
        """Shows what is not an event."""
        self._console.print(Text(words, "cyan"))

    def aborting(self) -> None:
        """Says that the run was asked to end."""
        self._console.print(Text("■ aborting; Ctrl-C again leaves at once", "yellow"))

    def leave(self) -> None:
        """Gives the terminal back at once."""
        if self._console.is_terminal:
            reset_line(self._console)

    def see(self, event: Event | Delta) -> None:
        """Draws one event."""
        match event:
            case TextDelta():
                self._said += event.text
                self._live.say(self._said)
            case Reset():
                self._said = ""
                self._live.say("")
            case Event() if event.seq <= self._known:
                self._learn(event)
            case Event():
                self._learn(event)
                self._draw(event)
            case _:
                pass

    # ---- what it knows ------------------------------------------------------------------------------------

    def _learn(self, event: Event) -> None:
        match event.data:
            case RunStarted():
                self._began = event.at
            case RunFinished():
                self._ended = event.at
            case ModelFinished() as data:
                self._cost = None if self._cost is None or data.cost is None else self._cost + data.cost
                self._tokens += data.message.usage.total_tokens
                self._live.spent = f"{self._tokens:,} tokens · {money(self._cost)}"
                for call in data.message.calls:
                    self._calls[call.id] = call
            case _:
                pass

    def _draw(self, event: Event) -> None:
        if self._failure is not None and not isinstance(event.data, RunFinished):  # else the summary says it
            self._line(Text.assemble(("! ", "yellow"), one_line(self._failure.message), (" · trying again", "dim")))
            self._failure = None
        match event.data:
            case RunStarted() | InputApplied():
                self._live.show("thinking")
            case ModelFinished() as data:
                self._answer(data)
            case ModelFailed() as data:
                self._failure = data
                self._live.show(Text(f"waiting to try again: {one_line(data.message, 60)}"))
            case ToolStarted() as data:
                self._running[data.call_id] = time.monotonic()
                self._busy()
            case ToolFinished() as data:
                self._finished(data)
            case _:
                self._rare(event)

    def _rare(self, event: Event) -> None:
        match event.data:
            case InputReceived() as data if data.kind != "prompt":
                kind = data.kind.replace("_", "-")
                self._line(Text.assemble((f"{kind} ", "cyan"), printable(data.message.text)))
            case CallReopened() as data:
                again = Text.assemble(("↻ ", "magenta"), self._title(data.call_id))
                self._line(again.append("  runs again, its files put back", "dim"))
            case ToolWaiting() as data:
                self._line(
                    Text.assemble(
                        ("⏸ waiting", "yellow"), f" for {data.wait.kind} ", (one_line(data.wait.token), "dim")
                    )
                )
                self._live.show(f"waiting for {data.wait.kind}")
            case BudgetExhausted() as data:
                self._line(Text.assemble(("■ ", "yellow"), f"the {data.limit} left do not pay for another model call"))
            case RunFinished():
                self._live.show("")
            case _:
                pass

    def _answer(self, data: ModelFinished) -> None:
        self._said = ""
        self._live.show("" if not data.message.calls else "working")
        text = printable(data.message.text).strip()
        if not text:
            return
        self._console.print()
        if self._console.is_terminal and not data.message.calls:
            self._console.print(Words(text))
        elif self._console.is_terminal:
            indented(self._console, Text(text), 0)
        else:
            self._console.print(Text(text), soft_wrap=True)

    def _finished(self, data: ToolFinished) -> None:
        since = self._running.pop(data.call_id, None)
        amount = data.duration / 1e6 or (time.monotonic() - since if since is not None else None)
        mark, took = mark_of(data.result), "" if amount is None else seconds(amount)
        name = self._title(data.call_id)
        room = min(self._console.width, _WIDTH) - len(took) - 6
        name.truncate(room, overflow="ellipsis", pad=self._console.is_terminal)
        line = Text.assemble("  ", mark, " ", name, "  ", (took, "dim"))
        line.rstrip()
        self._console.print(line, no_wrap=True, overflow="ignore", crop=False)
        for row in outcome(data.result):
            row.truncate(self._console.width - 4, overflow="ellipsis")
            indented(self._console, row, 4)
        self._busy()

    def _busy(self) -> None:
        """Shows the call that has been running longest, or that the model is at it."""
        if not self._running:
            self._live.show("thinking")
            return
        call, since = next(iter(self._running.items()))
        more = f" and {len(self._running) - 1} more" if len(self._running) > 1 else ""
        self._live.show(self._title(call).append(more, "dim"), since)

    def _title(self, call_id: str) -> Text:
        call = self._calls.get(call_id)
        return Text("a call") if call is None else title(call.name, about(call))

    def _line(self, line: Text) -> None:
        indented(self._console, line, 2)

    # ---- the end ------------------------------------------------------------------------------------------

    def conclude(self, result: RunResult, store: str, *, foreign: bool = False) -> None:
        """Prints how the run ended, what it took, and where it is kept.

        How to go on depends on whose agent it was: `foreign` is one that this command line cannot make.
        """
        cost = None if result.cost is None else from_dollars(result.cost)
        figures = [count(result.steps, "step"), count(result.usage.total_tokens, "token"), money(cost)]
        if self._began is not None and self._ended:
            figures.append(seconds((self._ended - self._began) / 1e6))
        stopped = result.status in ("limited", "aborted") and result.reason
        why = f" ({one_line(result.reason, 80)})" if stopped else ""
        mark, style = _MARKS[result.status]
        line = Text.assemble((f"{mark} ", style), (result.status, "bold"), why, (f"  {' · '.join(figures)}", "dim"))
        self._console.print()
        indented(self._console, line, 0)
        if result.status == "failed":
            self._line(Text(printable(result.reason), "red"))
        where = store_option(store)
        self.fact("log", store)
        if store == "memory:":  # gone with this process
            return
        self.fact("look", f"holdfast runs show {result.session}{where}")
        if result.status != "completed" and foreign:
            self.fact("go on", f"with a prompt from the program that has its tools, in session {result.session!r}")
        elif result.status != "completed":
            self.fact("go on", f'holdfast run --session {result.session}{where} "…"')

    def fact(self, name: str, value: str | Text) -> None:
        """Prints a line of the summary, on one line whatever its length so that it can be copied."""
        self._console.print(Text.assemble((f"  {name:<8}", "dim"), value), soft_wrap=True)


def store_option(store: str) -> str:
    """Returns what a command has to be given to find that store again; nothing when it is the default."""
    return "" if store == default_url() else f" --store {shlex.quote(store)}"
