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

from holdfast.cli.asking.approving import Approver
from holdfast.cli.choosing.meaning import card_of
from holdfast.cli.hiding.masking import masked, masked_line
from holdfast.cli.learning.calls import Calls
from holdfast.cli.learning.charges import Charges
from holdfast.cli.learning.waits import Waits
from holdfast.cli.outcomes import about, again, closing, mark_of, undone
from holdfast.cli.rendering.answer import Answer, below, written_below
from holdfast.cli.rendering.cards import card
from holdfast.cli.rendering.figures import Figures, percent
from holdfast.cli.rendering.happenings import exhausted, happening, onward
from holdfast.cli.rendering.thoughts import Thoughts
from holdfast.cli.settings.defaults import default_store
from holdfast.cli.terminal import LiveLine, indented, reset_line, title
from holdfast.cli.words import count, money, one_line, printable, seconds, tokens
from holdfast.engine.events import (
    BudgetExhausted,
    CallReopened,
    InputApplied,
    InputReceived,
    ModelFailed,
    ModelFinished,
    Paused,
    PhaseFailed,
    PhaseStarted,
    Resumed,
    ReviewRequested,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
    ToolWaiting,
    WaitResolved,
)
from holdfast.runtime.run import RunResult
from holdfast.types import AssistantMessage, Delta, Event, Reset, TextDelta, ThinkingDelta, from_dollars

__all__ = ("EXIT_CODES", "Screen", "print_below", "store_option")

EXIT_CODES = {"completed": 0, "failed": 1, "limited": 3, "aborted": 4}
_WIDTH = 110
"""Columns after which a duration at the right would be too far from its call."""


class Screen:
    """Shows one run."""

    def __init__(self, console: Console, *, known: int = 0, theme: str = "dark") -> None:
        """Shows what comes after event `known`; what comes before it is learned in silence.

        `theme` is the terminal's: `dark` or `light`.
        """
        self.console = console
        self.live = LiveLine(console)
        self.approver: Approver | None = None
        """Whoever can be asked for an approval; without one it is only said that the run waits."""
        self.advice = "; --yes allows them"
        """What helps where nobody could be asked."""
        self._known = known
        self._calls = Calls()
        self._became = Waits()
        self._charges = Charges()
        self._running: dict[str, float] = {}
        self._figures = Figures(card_of)
        self._failure: ModelFailed | None = None
        self._began: int | None = None
        self._ended = 0
        self._waits: dict[str, ToolWaiting | ReviewRequested] = {}
        self._just_over: ToolWaiting | ReviewRequested | None = None
        self._answer = Answer(console, theme=theme)
        self._thought = Thoughts(console)
        self.live.figures = self._figures.parts
        self.live.above = self._open_words

    async def show(self, events: AsyncIterator[Event | Delta]) -> None:
        """Draws events until there are no more."""
        with self.live:
            self.live.show("starting")
            async for event in events:
                self.see(event)

    def note(self, words: str) -> None:
        """Shows what is not an event."""
        self.console.print(Text(words, "yellow" if words.startswith("!") else "cyan"))

    def aborting(self) -> None:
        """Says that the run was asked to end."""
        self.console.print(Text("■ aborting; Ctrl-C again leaves at once", "yellow"))

    def leave(self) -> None:
        """Gives the terminal back at once."""
        if self.approver is not None:
            self.approver.leave()
        if self.console.is_terminal:
            reset_line(self.console)

    def end(self) -> None:
        """Leaves an answer that never became whole as it is: the run is over."""
        self._thought.restart()
        self._answer.leave()

    def see(self, event: Event | Delta) -> None:
        """Draws one event."""
        match event:
            case TextDelta() if self._streams:
                self._thought.end()
                self._answer.feed(event.text)
            case ThinkingDelta() if self._streams:
                self._thought.feed(event.text)
            case Reset():
                self._answer.restart()
                self._thought.restart()
            case Event():
                self._learn(event)
                if event.seq > self._known:
                    self._draw(event)
                elif event.seq == self._known:
                    for waiting in self._waits.values():
                        self._wait(waiting)
            case _:
                pass

    @property
    def _streams(self) -> bool:
        """Whether words are drawn as they come: a file gets them when they are whole."""
        return self.live.moves

    def _open_words(self, most: int) -> list[Text]:
        return self._answer.preview(most) or self._thought.preview(most)

    # ---- what it knows ------------------------------------------------------------------------------------

    def _learn(self, event: Event) -> None:
        self._figures.learn(event)
        self._calls.learn(event)
        self._became.learn(event)
        self._charges.learn(event)
        match event.data:
            case RunStarted():
                self._began = event.at
            case RunFinished():
                self._ended = event.at
            case _:
                self._learn_waits(event)

    def _learn_waits(self, event: Event) -> None:
        match event.data:
            case ToolWaiting() | ReviewRequested() as data:
                self._waits[data.wait.token] = data
            case WaitResolved() as data:
                self._resolved(data.token)
            case InputApplied():  # the answer that is reviewed is not the last any more
                for token in [token for token, wait in self._waits.items() if isinstance(wait, ReviewRequested)]:
                    self._resolved(token)
            case ToolFinished() as data:
                for token in [token for token, wait in self._waits.items() if _belongs(wait, data)]:
                    self._resolved(token)
            case _:
                pass

    def _resolved(self, token: str) -> None:
        self._just_over = self._waits.pop(token, None)
        if self.approver is not None:
            self.approver.settle(token)

    def _draw(self, event: Event) -> None:
        if self._failure is not None and not isinstance(event.data, RunFinished):  # else the summary says it
            self._line(Text.assemble(("! ", "yellow"), one_line(self._failure.message), (self._goes_on, "dim")))
            self._failure = None
        match event.data:
            case RunStarted() | InputApplied():
                self.live.show("thinking")
            case ModelFinished() as data:
                self._answered(data)
            case ModelFailed() as data:
                self._failed(data)
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
                title = Text.assemble(("↻ ", "magenta"), self._title(data.call_id))
                said = again(saved=self._calls.saved(data.call_id))
                self._line(title.append(f"  {said}", "dim"))
            case ToolWaiting() | ReviewRequested() as data:
                self._wait(data)
            case WaitResolved() as data:
                self._over(data)
            case Paused() as data:
                self._line(Text.assemble(("⏸ paused", "yellow"), f"  {one_line(data.reason)}".rstrip()))
                self.live.show("paused")
            case Resumed():
                self._line(Text.assemble(("▶ goes on", "cyan")))
                self._busy()
            case BudgetExhausted() as data:
                self._line(Text.assemble(("■ ", "yellow"), exhausted(data)))
            case PhaseStarted() | PhaseFailed() as data if (said := happening(data)) is not None:
                self._line(Text.assemble((f"{said[0]} ", said[1]), said[2]))
            case RunFinished():
                self.end()
                self.live.show("")
            case _:
                pass

    def _wait(self, data: ToolWaiting | ReviewRequested) -> None:
        wait, asker = data.wait, self.approver
        call = self._calls.get(data.call_id) if isinstance(data, ToolWaiting) else None
        if asker is not None and isinstance(data, ReviewRequested):
            asker.ask(wait, None, data.changes_left)
        elif asker is not None and call is not None and (wait.kind == "approval" or wait.questions):
            asker.ask(wait, call)
        else:
            what = (one_line(wait.prompt or wait.token), "dim")
            self._line(Text.assemble(("⏸ waiting", "yellow"), f" for {wait.kind} ", what))
        self.live.show(f"waiting for {wait.kind}")

    def _over(self, data: WaitResolved) -> None:
        """Says what became of a wait, but where the person here said it and was told."""
        became = self._became.became(data)
        if became is None or (self.approver is not None and data.token in self.approver.said and not data.arguments):
            return
        waiting = self._just_over
        named = isinstance(waiting, ToolWaiting) and (waiting.wait.digest or waiting.wait.kind == "child")
        about_ = self._title(waiting.call_id) if isinstance(waiting, ToolWaiting) and named else Text()
        self._line(Text.assemble((became[0], became[1]), ("  " if about_ else "", ""), about_))
        self._busy()

    def _answered(self, data: ModelFinished) -> None:
        self.live.show("" if not data.message.calls else "working")
        self._thought.finish(data.message)
        text = data.message.text
        if text.strip() and self.console.is_terminal:
            self._answer.finish(text)
        elif text.strip():
            self.console.print()
            self.console.print(Text(printable(text).strip()), soft_wrap=True)
        print_below(self.console, data.message)

    @property
    def _goes_on(self) -> str:
        said = "" if self._failure is None else onward(self._failure)
        return f" · {said}" if said not in ("", "tries again") else " · trying again"

    def _failed(self, data: ModelFailed) -> None:
        self._failure = data
        if data.mode == "continue" and data.partial is not None and self._streams:
            self._answer.restart()  # who came late sees the words here; the others have them, and see them once
            self._answer.feed(data.partial.text)
        who = f"{one_line(data.next, 40)} goes on" if data.next not in ("", data.model) else "waiting to try again"
        self.live.show(Text(f"{who}: {one_line(masked(data.message), 60)}"))

    def _finished(self, data: ToolFinished) -> None:
        since = self._running.pop(data.call_id, None)
        amount = data.duration / 1e6 or (time.monotonic() - since if since is not None else None)
        mark, took = mark_of(data.result), ("" if amount is None else seconds(amount)) + undone(data)
        name = self._title(data.call_id)
        room = min(self.console.width, _WIDTH) - len(took) - 6
        name.truncate(room, overflow="ellipsis", pad=self.console.is_terminal)
        line = Text.assemble("  ", mark, " ", name, "  ", (took, "dim"))
        line.rstrip()
        self.console.print(line, no_wrap=True, overflow="ignore", crop=False)
        for row in card(data.result, self._calls.get(data.call_id), roomy=self.console.is_terminal):
            row.truncate(self.console.width - 4, overflow="ellipsis")
            indented(self.console, row, 4)
        self._busy()

    def _busy(self) -> None:
        """Shows the call that has been running longest, or that the model is at it."""
        if not self._running:
            self.live.show("thinking")
            return
        call, since = next(iter(self._running.items()))
        more = f" and {len(self._running) - 1} more" if len(self._running) > 1 else ""
        self.live.show(self._title(call).append(more, "dim"), since)

    def _title(self, call_id: str) -> Text:
        call = self._calls.get(call_id)
        return Text("a call") if call is None else title(call.name, about(call))

    def _line(self, line: Text) -> None:
        indented(self.console, masked_line(line), 2)

    # ---- the end ------------------------------------------------------------------------------------------

    def conclude(self, result: RunResult, store: str, *, foreign: bool = False) -> None:
        """Prints how the run ended, what it took, and where it is kept.

        How to go on depends on whose agent it was: `foreign` is one that this command line cannot make.
        """
        cost = None if result.cost is None else from_dollars(result.cost)
        used = tokens(result.usage) + self._charges.words()
        figures = [count(result.steps, "step"), used, money(cost, most=result.usage.estimated)]
        if self._began is not None and self._ended:
            figures.append(seconds((self._ended - self._began) / 1e6))
        if self.console.is_terminal and self._figures.context is not None:
            figures.append(f"context {percent(self._figures.context)}")
        self.console.print()
        indented(self.console, closing(result.status, result.reason, figures), 0)
        if result.status == "failed":
            self._line(Text(printable(result.reason), "red"))
        if result.denied:
            self._line(Text(self._became.denials(result.denied, self.advice), "yellow"))
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
        self.console.print(Text.assemble((f"  {name:<8}", "dim"), value), soft_wrap=True)


def print_below(console: Console, message: AssistantMessage) -> None:
    """Prints what the provider did on the way to an answer, and the sources of its words; in a file as Markdown."""
    if not console.is_terminal:
        if written := written_below(message):
            console.print()
            console.print(Text(written), soft_wrap=True)
        return
    for number, line in enumerate(below(message)):
        if not number and message.text.strip():
            console.print()
        indented(console, line, 2, hang=4)


def _belongs(wait: ToolWaiting | ReviewRequested, finished: ToolFinished) -> bool:
    return isinstance(wait, ToolWaiting) and wait.call_id == finished.call_id


def store_option(store: str) -> str:
    """Returns what a command has to be given to find that store again; nothing when it is the default."""
    return "" if store == default_store() else f" --store {shlex.quote(store)}"
