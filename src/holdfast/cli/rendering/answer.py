"""An answer as it is written: what is finished is drawn once and stays, what is open is drawn below it.

When a connection breaks, the model is asked again and its answer starts again: words that were drawn already are not
drawn twice, and where the new answer is another one, a line says so.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from holdfast.cli.rendering.blocks import Block, Blocks
from holdfast.cli.words import printable

__all__ = ("Answer",)

_PREVIEW = 1200
"""Letters of an open block that are drawn."""


class Answer:
    """Draws one answer, piece by piece."""

    def __init__(self, console: Console, *, theme: str = "dark") -> None:
        self._console = console
        self._theme = theme
        self._blocks = Blocks()
        self._taken: list[str] = []
        self._drawn = 0
        """Blocks that are on the screen."""
        self._before: str | None = None
        """What was taken before the answer started again, as long as the new one says the same."""
        self._same = 0
        """How much of it was said again."""
        self._shown: tuple[str, int, list[Text]] = ("", 0, [])

    def feed(self, text: str) -> None:
        """Takes more of the answer."""
        if self._before is not None:
            text = self._repeated(self._before, text)
        if text:
            self._taken.append(text)
            self._draw(self._blocks.feed(text))

    def restart(self) -> None:
        """The answer starts again."""
        if self._before is None and self._taken:
            self._before, self._same = "".join(self._taken), 0
        elif self._before is not None:
            self._same = 0

    def finish(self, text: str) -> None:
        """Draws what is missing of an answer that is whole, and makes ready for the next one."""
        taken = self._before if self._before is not None else "".join(self._taken)
        if not text.startswith(taken):
            self._differs()
            taken = ""
        self._draw(self._blocks.feed(text[len(taken) :]))
        self._draw(self._blocks.end())
        self.__init__(self._console, theme=self._theme)

    def preview(self, height: int) -> list[Text]:
        """Returns the last lines of what is not finished, as they fit into the window."""
        width = self._console.width
        tail = self._blocks.tail(height, _PREVIEW)
        if not tail.strip():
            return []
        if (tail, width) != self._shown[:2]:
            self._shown = (tail, width, self._lines(tail)[-height:])
        return self._shown[2]

    def _lines(self, text: str) -> list[Text]:
        """Returns Markdown as lines, without blanks around them and at their ends."""
        from holdfast.cli.rendering.markdown import Words

        words = Words(printable(text), theme=self._theme)
        lines: list[Text] = []
        for segments in self._console.render_lines(words, pad=False):
            line = Text.assemble(*[(each.text, each.style or "") for each in segments if not each.control])
            line.rstrip()
            if line or lines:
                lines.append(line)
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def _repeated(self, before: str, text: str) -> str:
        """Returns what is new in a text that may say once more what was said."""
        rest = before[self._same : self._same + len(text)]
        if text.startswith(rest):
            self._same += len(rest)
            if self._same == len(before):
                self._before = None
            return text[len(rest) :]
        again = before[: self._same] + text
        self._before = None
        self._differs()
        return again

    def _differs(self) -> None:
        if self._drawn:
            self._console.print(Text("↻ the answer starts again", "magenta"))
        self._blocks, self._taken, self._before = Blocks(), [], None

    def _draw(self, blocks: list[Block]) -> None:
        for block in blocks:
            lines = self._lines(block.text)
            if not block.joined:
                lines.insert(0, Text())
            self._console.print(Text("\n").join(lines), no_wrap=True, overflow="ignore", crop=False)
            self._drawn += 1
