"""Asking a person whether a tool call may run: what it is in a card, a key for the answer.

Questions come one after another. One that was answered elsewhere meanwhile, or that nobody waits for any more, goes
away by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import final

from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from holdfast.cli.asking.keys import Keys
from holdfast.cli.outcomes import argument, arguments_of
from holdfast.cli.rendering.diffs import between, cut
from holdfast.cli.terminal import LiveLine
from holdfast.cli.words import one_line, printable
from holdfast.errors import HoldfastError
from holdfast.runtime.run import Run
from holdfast.types import ToolCall, Wait

__all__ = ("Approver", "approval_card")

_LINES = 24
_WIDTH = 100
_KEYS = Text.assemble(
    ("? ", "bold yellow"),
    *(("y", "bold"), " once   ", ("a", "bold"), " always   ", ("n", "bold"), " no   "),
    *(("q", "bold"), " no, and end the run"),
)


def approval_card(call: ToolCall, wait: Wait) -> Panel:
    """Returns what a person has to know to say yes or no."""
    prompt = one_line(wait.prompt, 200)
    lines = cut(_body(call), _LINES)
    body = [Text(prompt, "dim")] if prompt and one_line(call.arguments, 100).rstrip("…") not in prompt else []
    name = one_line(wait.subject or call.name, 60)
    return Panel(
        Group(*body, *lines),
        title=Text.assemble(("allow ", ""), (name, "bold"), "?"),
        title_align="left",
        border_style="yellow",
        padding=(0, 1),
    )


def _body(call: ToolCall) -> list[Text]:
    fields = arguments_of(call)
    if fields is None:
        return _plain(call.arguments)
    if command := argument(call, "command"):
        first, *rest = _plain(command) or [Text()]
        others = {key: value for key, value in fields.items() if key != "command"}
        note = [Text(one_line(json.dumps(others, ensure_ascii=False)), "dim")] if others else []
        return [Text.assemble(("$ ", "green"), first), *rest, *note]
    path = argument(call, "path")
    edits = fields.get("edits")
    if path and isinstance(edits, list):
        return [Text(one_line(path), "bold"), *_edits(edits)]  # pyright: ignore[reportUnknownArgumentType] - JSON
    if path and "content" in fields:
        added = [Text(f"+{line.plain}", "green") for line in _plain(argument(call, "content"))]
        return [Text(one_line(path), "bold"), *added]
    return _plain(json.dumps(fields, indent=2, ensure_ascii=False))


def _edits(edits: list[object]) -> list[Text]:
    lines: list[Text] = []
    for edit in edits[:20]:
        if isinstance(edit, dict):
            old, new = (str(edit.get(key, "")) for key in ("oldText", "newText"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType, reportUnknownVariableType] - JSON
            lines += [Text("⋯", "dim")] if lines else []
            lines += between(old, new, _LINES)
    return lines


def _plain(text: str) -> list[Text]:
    return [Text(line.expandtabs(4)) for line in printable(text[:20_000]).splitlines()]


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
            self._console.print()
            self._console.print(approval_card(call, wait), width=min(self._console.width, _WIDTH))
            if not self._live.moves:
                self._console.print(_KEYS)
            try:
                self._live.question = _KEYS
                key = await self._key()
            finally:
                self._live.question = None
                self._now = ""
            self._waiting.pop(token, None)
            await self._answer(token, key)
        self._task = None

    async def _key(self) -> str:
        with Keys() as keys:
            self._keys = keys
            while (key := (await keys.read()).lower()) not in _ANSWERS:
                pass
            return key

    async def _answer(self, token: str, key: str) -> None:
        answer, said, style = _ANSWERS[key]
        self._console.print(Text(f"  {said}", style))
        await self._run.answer(token, answer)
        if key == "q":
            await self._run.abort("a person said no and ended the run")


_ANSWERS = {
    "y": ("once", "✓ allowed, this once", "green"),
    "a": ("always", "✓ allowed, also from now on", "green"),
    "n": ("deny: the person at the terminal said no", "⊘ denied", "yellow"),
    "q": ("deny: the person at the terminal said no and ended the run", "⊘ denied; the run ends", "yellow"),
    "": ("deny: the terminal has gone", "⊘ denied: the terminal has gone", "yellow"),
}
