"""A model's reasoning, where the server shows it: dimmed, with a line at its side, and no longer than a glance."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from holdfast.cli.words import printable
from holdfast.types import AssistantMessage, Thinking

__all__ = ("Thoughts",)

_SHOWN = 8
"""Lines of a thought that stay."""
_STYLE = "dim italic"


class Thoughts:
    """Draws what a model thinks before each answer."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pieces: list[str] = []
        self._drawn = False

    def feed(self, text: str) -> None:
        """Takes more of a thought."""
        self._pieces.append(text)

    def restart(self) -> None:
        """The answer starts again, and what was thought before it."""
        self._pieces.clear()

    def end(self) -> None:
        """Draws what was thought, once an answer begins."""
        if self._pieces and not self._drawn:
            self._draw("".join(self._pieces))
        self._pieces.clear()

    def finish(self, message: AssistantMessage) -> None:
        """Draws the thoughts of a message that were not drawn, and makes ready for the next one."""
        text = "\n".join(part.text for part in message.parts if isinstance(part, Thinking))
        if not self._drawn and text.strip():
            self._draw(text)
        self._pieces.clear()
        self._drawn = False

    def preview(self, height: int) -> list[Text]:
        """Returns the last lines of a thought that is not finished."""
        tail = "".join(self._pieces[-300:])[-1200:]
        return self._lines(tail)[-min(height, 4) :] if tail.strip() else []

    def _draw(self, text: str) -> None:
        lines = self._lines(text)
        self._console.print()
        for line in lines[:_SHOWN]:
            self._console.print(line, no_wrap=True, overflow="ignore", crop=False)
        if len(lines) > _SHOWN:
            self._console.print(Text(f"┊ … {len(lines) - _SHOWN:,} more lines of thought", _STYLE))
        self._drawn = True

    def _lines(self, text: str) -> list[Text]:
        clean = Text(printable(text).strip(), _STYLE)
        wrapped = clean.wrap(self._console, max(20, self._console.width - 3))
        lines: list[Text] = []
        for each in wrapped:
            each.rstrip()
            lines.append(Text.assemble(("┊ ", "dim"), each))
        return lines
