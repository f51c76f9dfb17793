"""Consoles, and the one line below everything that shows what is under way.

On a terminal that line counts the seconds and shows the last words of an answer as they come; elsewhere it does not
exist, and neither do colours.
"""

from __future__ import annotations

import os
import time
from typing import Any, ClassVar

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.markdown import Heading, Markdown
from rich.segment import ControlType
from rich.spinner import Spinner
from rich.text import Text

from holdfast.cli.words import one_line, printable, seconds

__all__ = ("LiveLine", "Words", "indented", "open_console", "reset_line", "title")

_WIDTH = 100
"""Columns of output that goes to no terminal."""
_PREVIEW = 4
"""Lines of an unfinished answer that are shown."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # `main` decides what it means


def open_console(*, stderr: bool = False) -> Console:
    """Returns a console; a file or a pipe is wide enough for tables."""
    options: dict[str, Any] = {"stderr": stderr, "highlight": False, "markup": False, "emoji": False}
    console = _Console(**options)
    wide = console.is_terminal or "COLUMNS" in os.environ
    return console if wide else _Console(**options, width=_WIDTH)


def indented(console: Console, text: Text, by: int) -> None:
    """Prints text with its wrapped lines indented alike, and no blanks at their ends."""
    for line in text.wrap(console, max(20, console.width - by)):
        line.rstrip()
        console.print(Text(" " * by).append_text(line), no_wrap=True, overflow="ignore", crop=False)


def reset_line(console: Console) -> None:
    """Clears the line the cursor is in and shows the cursor: after whoever drew there left without doing so."""
    console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
    console.show_cursor(True)


class _Heading(Heading):
    """A heading where the text is, not in the middle of the window."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class Words(Markdown):
    """What a model says, which is Markdown as a rule."""

    elements: ClassVar[Any] = {**Markdown.elements, "heading_open": _Heading}


class LiveLine:
    """What is under way; enter it while there is something to show."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = Spinner("dots", style="cyan")
        self._what = Text()
        self._since = 0.0
        self._words = ""
        self.spent = ""
        """What it all cost so far."""
        self._live: Live | None = None
        if console.is_interactive and console.file.isatty():
            self._live = Live(console=console, refresh_per_second=10, transient=True, get_renderable=self._drawn)

    def __enter__(self) -> LiveLine:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._what = Text()
        self._words = ""
        if self._live is not None:
            self._live.stop()

    def show(self, what: str | Text, since: float | None = None) -> None:
        """Shows what is under way, since a monotonic time or since now; empty for nothing."""
        self._what = Text(what) if isinstance(what, str) else what
        self._since = time.monotonic() if since is None else since
        self._words = ""

    def say(self, words: str) -> None:
        """Shows the last of these words above the line."""
        self._words = words[-2000:]

    def _drawn(self) -> RenderableType:
        if not self._what:
            return Text()
        took = seconds(max(0.1, time.monotonic() - self._since))
        tail = f"  {took}  {self.spent}" if self.spent else f"  {took}"
        line = self._what.copy()  # what is cut is the title, never the figures
        line.truncate(max(10, self._console.width - len(tail) - 3), overflow="ellipsis")
        self._spinner.update(text=line.append(tail, "dim"))
        if not self._words.strip():
            return self._spinner
        wrapped = Text(printable(self._words.strip())).wrap(self._console, self._console.width - 1)
        return Group(*wrapped[-_PREVIEW:], self._spinner)


def title(name: str, words: str) -> Text:
    """Returns a call's name and what it is about."""
    return Text.assemble((one_line(name, 60), "bold"), " ", words)
