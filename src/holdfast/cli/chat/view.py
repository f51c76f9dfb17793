"""What is shown of a talk: lines that stay, printed as the log grows, and the few below them that change.

It is told events and prints; what changes is asked for with `live`, by whoever draws the input line. Nothing that a
model, a tool or a file says reaches the terminal with its control characters.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import final

from rich.console import Console
from rich.text import Text

from holdfast.cli.asking.picking import print_question
from holdfast.cli.chat.asking import question_card
from holdfast.cli.chat.figures import Figures, Question, reviewed
from holdfast.cli.hiding.masking import masked
from holdfast.cli.learning.calls import Calls
from holdfast.cli.learning.charges import Charges
from holdfast.cli.learning.waits import Waits
from holdfast.cli.outcomes import about, closing
from holdfast.cli.rendering.markdown import Words
from holdfast.cli.screen import Screen, print_below
from holdfast.cli.terminal import indented, title
from holdfast.cli.words import count, money, one_line, printable, seconds, tokens
from holdfast.engine.events import (
    AbortRequested,
    InputApplied,
    InputReceived,
    ReviewRequested,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
    ToolWaiting,
    WaitResolved,
)
from holdfast.types import AssistantMessage, Delta, Event, UserMessage
from holdfast.types import Text as Said

__all__ = ("View",)


@final
class View:
    """Shows a talk on a console."""

    def __init__(self, console: Console, folder: Path | None, *, theme: str = "dark", echo: bool = True) -> None:
        """Shows it for a folder; `theme` is the terminal's: `dark` or `light`.

        `echo` is whether what was typed is gone from the screen once it was sent.
        """
        self.console = console
        self.folder = folder
        """Where the agent works; None where that is on another machine."""
        self._theme = theme
        self._echo = echo
        self._screen = Screen(console, theme=theme)
        self._inputs: dict[int, InputReceived] = {}
        self._calls = Calls()
        self._became = Waits()
        self._charges = Charges()
        self._running: dict[str, float] = {}
        self._asked: dict[str, Question] = {}
        self.asking = ""
        """The token of the question on the screen: there is one at a time, and an answer is to that one."""
        self.whole = True
        """Whether its card shows all of what is asked about."""
        self._began = 0

    def see(self, event: Event | Delta) -> None:
        """Shows one event."""
        match event:
            case Event():
                self._learn(event)
                if not self._own(event):
                    self._screen.see(event)
            case _:
                self._screen.see(event)

    def forget(self) -> None:
        """Forgets a session that was left."""
        self._screen = Screen(self.console, theme=self._theme)
        for known in (self._inputs, self._calls, self._running, self._asked):
            known.clear()
        self._began, self.asking = 0, ""

    def _learn(self, event: Event) -> None:
        self._calls.learn(event)
        self._became.learn(event)
        self._charges.learn(event)
        match event.data:
            case InputReceived() as data:
                self._inputs[event.seq] = data
            case ToolStarted() as data:
                self._running[data.call_id] = time.monotonic()
            case ToolFinished() as data:
                self._running.pop(data.call_id, None)
                for token in [token for token, each in self._asked.items() if each.call.id == data.call_id]:
                    self._settled(token)
            case RunFinished():
                self._asked.clear()
                self.asking = ""
            case _:
                pass

    def _own(self, event: Event) -> bool:
        """Shows what looks another way in a talk than in a run; whether it was that."""
        match event.data:
            case InputReceived():
                pass  # shown when it joins the conversation; until then it is among what changes
            case RunStarted() as data:
                self._began = event.at
                if self._echo:
                    self.spoken(self._inputs[data.input].message if data.input in self._inputs else None)
            case InputApplied() as data:
                received = self._inputs.get(data.input)
                for token in [token for token, each in self._asked.items() if each.wait.kind == "review"]:
                    self._settled(token)  # what it was about is not the last answer any more
                self.spoken(received.message if received else None, joined=True)
            case AbortRequested():
                self.note("■ aborting; Ctrl-C again leaves at once", "yellow")
            case RunFinished() as data:
                self._ended(data, event.at)
            case _:
                return self._waits(event)
        return True

    def _waits(self, event: Event) -> bool:
        """Shows what a person is asked, and what became of it; whether it was that."""
        match event.data:
            case ToolWaiting() as data if data.wait.kind == "approval" or data.wait.questions:
                if (call := self._calls.get(data.call_id)) is None:
                    return False
                self._question(Question(data.wait, call))
            case ReviewRequested() as data:
                self._question(reviewed(data.wait, data.changes_left))
            case WaitResolved() as data if data.token in self._asked:
                self._answered(data)
            case _:
                return False
        return True

    def _question(self, question: Question) -> None:
        self._asked[question.token] = question
        if not self.asking:
            self._ask(question)

    def _ask(self, question: Question) -> None:
        if question.wait.kind != "approval":
            self.asking, self.whole = question.token, True
            self.console.print()
            if question.wait.kind == "question":
                self.questions(question, 0)
            else:
                indented(self.console, Text("Will this answer do?", "bold yellow"), 2)
            return
        card = question_card(question, self.folder)
        self.asking, self.whole = question.token, card.whole
        self.console.print()
        self.console.print(card)

    def questions(self, question: Question, number: int) -> None:
        """Shows one of the questions that a call asks, by its number from 0."""
        asked = question.wait.questions
        print_question(self.console, asked[number], number + 1, len(asked), 2)

    def chosen(self, answers: Sequence[str]) -> None:
        """Shows what was picked or said."""
        indented(self.console, Text.assemble(("  ▸ ", "bold cyan"), one_line(", ".join(answers) or "none")), 2)

    def _settled(self, token: str) -> None:
        """Forgets a question, and shows the next one where it was the one on the screen."""
        self._asked.pop(token, None)
        if token == self.asking:
            self.asking = ""
            for question in list(self._asked.values())[:1]:
                self._ask(question)

    def _answered(self, data: WaitResolved) -> None:
        words, style = self._became.became(data) or ("✓ answered", "green")
        indented(self.console, Text(masked(words), style), 4)
        self._settled(data.token)

    def _ended(self, data: RunFinished, at: int) -> None:
        self._running = {}
        self._screen.end()
        used = tokens(data.usage) + self._charges.words()
        figures = [count(data.steps, "step"), used, money(data.cost, most=data.usage.estimated)]
        if self._began:
            figures.append(seconds((at - self._began) / 1e6))
        self.console.print()
        indented(self.console, closing(data.status, data.reason, figures, named=False), 0)
        if data.status == "failed":
            indented(self.console, Text(masked(printable(data.reason)), "red"), 2)
        if data.denied:
            indented(self.console, Text(self._became.denials(data.denied), "yellow"), 2)
        self.console.print()

    # ---- what is no event -----------------------------------------------------------------------------------

    def spoken(self, message: UserMessage | None, *, joined: bool = False) -> None:
        """Shows what a person said, where it joined the conversation."""
        if message is None:
            return
        if joined:
            self.console.print()
        attached = [part.name or part.media_type for part in message.parts if not isinstance(part, Said)]
        lines = printable(message.text).splitlines() or [""]
        lines[-1] += "".join(f"  [{one_line(name, 60)}]" for name in attached)
        for number, line in enumerate(lines):
            sign = ("▸ ", "bold cyan") if number == 0 else ("  ", "")
            indented(self.console, Text.assemble(sign, (line, "bold")), 0)

    def exchange(self, figures: Figures) -> None:
        """Shows the last thing that was asked in a session and what the answer was."""
        messages = figures.state.messages
        asked = next((each for each in reversed(messages) if isinstance(each, UserMessage)), None)
        answers = (each for each in reversed(messages) if isinstance(each, AssistantMessage) and each.text)
        answer = next(answers, None)
        self.spoken(asked)
        if answer is not None:
            self.console.print()
            self.words(answer.text)
            print_below(self.console, answer)
        self.console.print()

    def words(self, text: str) -> None:
        """Shows Markdown."""
        self.console.print(Words(printable(text), theme=self._theme))

    def note(self, words: str, style: str = "cyan") -> None:
        """Shows what the program has to say."""
        indented(self.console, Text(printable(words), style), 0)

    def complain(self, words: str) -> None:
        """Shows what went wrong and what to do."""
        indented(self.console, Text.assemble(("error ", "bold red"), printable(words)), 0)

    def pair(self, name: str, what: str, width: int) -> None:
        """Shows a name and, beside it, what it is."""
        first, *rest = Text(what).wrap(self.console, max(20, self.console.width - width - 2)) or [Text()]
        self.lines([Text.assemble((f"  {name:<{width}}", "cyan"), first)])
        self.lines([Text(" " * (width + 2)).append_text(line) for line in rest])

    def command(self, line: str) -> None:
        """Shows that a command was given."""
        if self._echo:
            indented(self.console, Text(f"▸ {printable(line)}", "dim"), 0)

    def lines(self, rows: Sequence[Text]) -> None:
        """Shows lines as they are, cut where the terminal ends."""
        for row in rows:
            row.truncate(self.console.width, overflow="ellipsis")
            self.console.print(row, no_wrap=True, overflow="ignore", crop=False)

    # ---- what changes ---------------------------------------------------------------------------------------

    def live(self, queued: Sequence[InputReceived], most: int) -> list[Text]:
        """Returns the lines that stand between what stays and the input line: `most` of them at most."""
        width = max(20, self.console.width - 1)
        rows: list[Text] = []
        for call_id, since in list(self._running.items())[:3]:
            call = self._calls.get(call_id)
            name = Text("a call") if call is None else title(call.name, about(call))
            took = f"  {seconds(max(0.1, time.monotonic() - since))}"
            name.truncate(max(10, width - len(took) - 4), overflow="ellipsis")
            rows.append(Text.assemble(("  ⋯ ", "cyan"), name, (took, "dim")))
        for received in queued:
            kind = "after this" if received.kind == "follow_up" else "queued"
            row = Text.assemble((f"  ↳ {kind}: ", "cyan"), (one_line(received.message.text), "dim"))
            row.truncate(width, overflow="ellipsis")
            rows.append(row)
        rows = rows[:most]
        above = self._screen.live.above
        words = above(most - len(rows)) if above is not None and most > len(rows) else []
        return [Text(), *words, Text(), *rows] if words else rows
