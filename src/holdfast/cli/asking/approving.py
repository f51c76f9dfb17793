"""Asking a person whether a tool call may run: what it is in a card, a key for the answer.

Questions come one after another. One that was answered elsewhere meanwhile, or that nobody waits for any more, goes
away by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import final

from rich.console import Console
from rich.text import Text

from holdfast.cli.asking.answers import ALWAYS, DENY, ONCE, SAID
from holdfast.cli.asking.card import approval_card
from holdfast.cli.asking.keys import PATIENCE, Keys
from holdfast.cli.terminal import LiveLine
from holdfast.errors import HoldfastError
from holdfast.runtime.run import Run
from holdfast.types import ToolCall, Wait

__all__ = ("Approver", "approval_card")

_WIDTH = 100
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
        self._waiting: dict[str, tuple[Wait, ToolCall]] = {}
        self._now = ""
        """The token that is asked about."""
        self._task: asyncio.Task[None] | None = None
        self._keys: Keys | None = None

    def ask(self, wait: Wait, call: ToolCall) -> None:
        """Puts a question in the row."""
        self._waiting[wait.token] = (wait, call)
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

    def settle_all(self) -> None:
        """Forgets all questions: the run is over."""
        for token in list(self._waiting):
            self.settle(token)

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
            token, (wait, call) = next(iter(self._waiting.items()))
            self._now = token
            card = approval_card(call, wait)
            self._console.print()
            self._console.print(card, width=min(self._console.width, _WIDTH))
            try:
                key = await self._key(twice=not card.whole)
            finally:
                self._live.ask(None)
                self._now = ""
            self._waiting.pop(token, None)
            await self._answer(token, key)
        self._task = None

    async def _key(self, *, twice: bool) -> str:
        """Returns the key that answers; `twice` is whether a yes has to be given again."""
        with Keys() as keys:
            self._keys = keys
            await asyncio.sleep(PATIENCE)
            keys.forget()  # what was typed by now was meant for something else
            self._ask(_KEYS)
            before = ""
            while True:
                key = await keys.read()
                if twice and key in ("y", "a") and key != before:
                    self._ask(Text(f"not all of it was shown: {key} again allows it   n no", "bold red"))
                    before = key
                elif key in _ANSWERS:
                    return key

    def _ask(self, words: Text) -> None:
        self._live.ask(words)
        if not self._live.moves:
            self._console.print(words)

    async def _answer(self, token: str, key: str) -> None:
        answer, said, style = _ANSWERS[key]
        self._console.print(Text(f"  {said}", style))
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
