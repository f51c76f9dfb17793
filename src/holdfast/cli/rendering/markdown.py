"""An answer as it is written: what is finished is drawn once and stays, what is open is drawn below it.

When a connection breaks, the model is asked again and its answer starts again: words that were drawn already are not
drawn twice, and where the new answer is another one, a line says so.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown
from rich.padding import Padding
from rich.segment import Segment
from rich.syntax import Syntax
from rich.text import Text

from holdfast.cli.rendering.blocks import Block, Blocks
from holdfast.cli.rendering.safely import clean
from holdfast.cli.words import printable

__all__ = ("Answer", "Words")

_PREVIEW = 1200
"""Letters of an open block that are drawn."""


class _Heading(Heading):
    """A heading where the text is, not in the middle of the window."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class _Code(CodeBlock):
    """Code in the terminal's own colours, without a box around it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        theme: Any = self.theme
        lines = Syntax(code, self.lexer_name, theme=theme, background_color="default").highlight(code)
        lines.rstrip()
        lines.no_wrap, lines.overflow = False, "fold"
        yield Padding(lines, (0, 0, 0, 2))


class Words(Markdown):
    """What a model says, which is Markdown as a rule; the target of a link is shown, not hidden behind it."""

    elements: ClassVar[Any] = {**Markdown.elements, "heading_open": _Heading, "fence": _Code, "code_block": _Code}

    def __init__(self, text: str, *, theme: str = "dark") -> None:
        """Draws text; `theme` is the terminal's: `dark` or `light`."""
        super().__init__(text, code_theme=f"ansi_{theme}", hyperlinks=False)
        for token in self.parsed:  # an address in it was decoded by now, and what it holds must have its width
            for each in (token, *(token.children or ())):
                each.content = printable(each.content)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws it, on any console, with no control character whatever the text held or spelled."""
        for part in super().__rich_console__(console, options):
            yield from clean([part] if isinstance(part, Segment) else console.render(part, options))


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
