"""Markdown as a terminal shows it: in its own colours, without boxes, and with nothing hidden.

What draws Markdown takes long to load: whoever may not need it imports this when they do.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown
from rich.padding import Padding
from rich.segment import Segment
from rich.syntax import Syntax

from holdfast.cli.rendering.safely import clean
from holdfast.cli.words import printable

__all__ = ("Words",)


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
