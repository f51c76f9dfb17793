"""Asking a person: whether a tool call may run, what a run wants to know, whether its answer will do.

What is asked stands in a card or in lines, and a key or a line is the answer. Questions come one after another. One
that was answered elsewhere meanwhile, or that nobody waits for any more, goes away by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Container
from functools import partial
from typing import NamedTuple, final

from rich.console import Console
from rich.text import Text

from holdfast.cli.asking.answers import ALWAYS, DENY, ONCE, SAID
from holdfast.cli.asking.card import approval_card
from holdfast.cli.asking.keys import EARLY, PATIENCE, Keys
from holdfast.cli.asking.picking import hint, lapse, picked, print_question
from holdfast.cli.terminal import LiveLine, indented
from holdfast.cli.words import printable
from holdfast.errors import HoldfastError, UsageError
from holdfast.runtime.run import Run
from holdfast.types import ToolCall, Wait

__all__ = ("Approver", "approval_card")

_WIDTH = 100


class _Asked(NamedTuple):
    """What stands in the row."""

    wait: Wait
    call: ToolCall | None
    changes_left: int


_KEYS = Text.assemble(
    ("? ", "bold yellow"),
    *(("y", "bold"), " once   ", ("a", "bold"), " always   ", ("n", "bold"), " no   "),
    *(("q", "bold"), " no, and end the run"),
)


@final
class Approver:
    """The person at this terminal, as a run asks them."""

    def __init__(self, console: Console, run: Run, live: LiveLine) -> None:
        self._console = console
        self._run = run
        self._live = live
        self._waiting: dict[str, _Asked] = {}
        self.said: set[str] = set()
        """What was answered here, and said so: by its tokens."""
        self._now = ""
        """The token that is asked about."""
        self._task: asyncio.Task[None] | None = None
        self._keys: Keys | None = None

    def ask(self, wait: Wait, call: ToolCall | None, changes_left: int = 0) -> None:
        """Puts what is asked in the row; of an answer under review there is no call."""
        self._waiting[wait.token] = _Asked(wait, call, changes_left)
        if self._task is None:
            self._task = asyncio.create_task(self._next(), name="ask a person")

    def settle(self, token: str) -> None:
        """Forgets a question that has its answer, or wants none any more."""
        self._waiting.pop(token, None)
        if token == self._now and self._task is not None:
            self._task.cancel()
            self._task = None
            if self._waiting:
                self._task = asyncio.create_task(self._next(), name="ask a person")

    def leave(self) -> None:
        """Gives the keyboard back at once."""
        if self._keys is not None:
            self._keys.restore()

    async def close(self) -> None:
        """Stops asking."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, HoldfastError):
                await self._task

    async def _next(self) -> None:
        while self._waiting:
            token, asked = next(iter(self._waiting.items()))
            self._now = token
            try:
                answer = await self._asked(asked)
            finally:
                self._live.ask(None)
                self._now = ""
            self._waiting.pop(token, None)
            if answer is not None:
                await answer()
        self._task = None

    async def _asked(self, asked: _Asked) -> Callable[[], Awaitable[object]] | None:
        """Asks, and returns what gives the answer; None when the person left it to somebody else."""
        self._console.print()
        if asked.call is None:
            return await self._review(asked)
        if asked.wait.kind == "question":
            return await self._question(asked.wait)
        card = approval_card(asked.call, asked.wait)
        self._console.print(card, width=min(self._console.width, _WIDTH))
        self._note(asked.wait)
        key = await self._key(_KEYS, _ANSWERS, twice=not card.whole)
        return partial(self._answer, asked.wait.token, key)

    async def _question(self, wait: Wait) -> Callable[[], Awaitable[object]] | None:
        given: list[list[str]] = []
        for number, question in enumerate(wait.questions, 1):
            print_question(self._console, question, number, len(wait.questions), 2)
            if number == 1:
                self._note(wait)
            while len(given) < number:
                said = await self._line(hint(question))
                if said is None:
                    return None
                try:
                    given.append(picked(question, said))
                except UsageError as error:
                    indented(self._console, Text(f"! {error}", "yellow"), 2)
        return partial(self._run.reply, wait.token, given)

    async def _review(self, asked: _Asked) -> Callable[[], Awaitable[object]] | None:
        token, left = asked.wait.token, asked.changes_left
        self._note(asked.wait)
        changes = (("c", "bold"), f" ask for changes ({left} left)   ") if left else ()
        words = ("will the answer do?  ", ("y", "bold"), " yes   ", *changes, ("n", "bold"), " no, the run fails")
        key = await self._key(Text.assemble(("? ", "bold yellow"), *words), ("y", "n", "", *("c" * bool(left))))
        if key == "c":
            said = ""
            while not said.strip():
                feedback = await self._line("what is to be different?")
                if feedback is None:
                    return None
                said = feedback
            return partial(self._run.request_changes, token, said)
        if key == "n":
            return partial(self._run.deny, token, await self._line("why not?") or "")
        return partial(self._run.approve, token) if key == "y" else None

    def _note(self, wait: Wait) -> None:
        """Says what it came to so far, and what happens when nobody answers."""
        parts = list(self._live.figures()[:1])
        if wait.deadline is not None:
            parts.append(lapse(wait.kind, wait.deadline / 1e6 - time.time()))
        if parts:
            indented(self._console, Text(" · ".join(parts), "dim"), 2)

    async def _line(self, what: str) -> str | None:
        """Returns a line that a person types; None when they left, or the terminal has gone."""
        sign = Text.assemble(("? ", "bold yellow"), (f"{what}: ", "dim"))
        moves = self._live.moves
        with Keys(lines=not moves) as keys:
            self._keys = keys
            self._say_early(keys)
            if not moves:
                self._console.print(sign)
            said = await keys.line((lambda text: self._live.ask(sign + Text(f"{text}▏"))) if moves else None)
        self._live.ask(None)
        if moves and said:
            indented(self._console, Text.assemble(("▸ ", "bold cyan"), printable(said)), 2)
        return said

    async def _key(self, words: Text, answers: Container[str], *, twice: bool = False) -> str:
        """Returns the key that answers; `twice` is whether a yes has to be given again."""
        with Keys() as keys:
            self._keys = keys
            await asyncio.sleep(PATIENCE)
            keys.forget()  # what was typed by now was meant for something else
            self._say_early(keys)
            self._ask(words)
            before = ""
            while True:
                key = await keys.read()
                if twice and key in ("y", "a") and key != before:
                    self._ask(Text(f"not all of it was shown: {key} again allows it   n no", "bold red"))
                    before = key
                elif key in answers:
                    return key

    def _say_early(self, keys: Keys) -> None:
        if keys.early:
            indented(self._console, Text(f"! {EARLY}: answer now", "yellow"), 2)

    def _ask(self, words: Text) -> None:
        self._live.ask(words)
        if not self._live.moves:
            self._console.print(words)

    async def _answer(self, token: str, key: str) -> None:
        answer, said, style = _ANSWERS[key]
        self._console.print(Text(f"  {said}", style))
        self.said.add(token)
        await self._run.answer(token, answer)
        if key == "q":
            await self._run.abort("a person said no and ended the run")


_ANSWERS = {
    "y": (ONCE, *SAID[ONCE]),
    "a": (ALWAYS, *SAID[ALWAYS]),
    "n": (f"{DENY}: the person at the terminal said no", "⊘ denied", "yellow"),
    "q": (f"{DENY}: the person at the terminal said no and ended the run", "⊘ denied; the run ends", "yellow"),
    "": (f"{DENY}: the terminal has gone", "⊘ denied: the terminal has gone", "yellow"),
}
