"""Consoles, and the one line below everything that shows what is under way.

On a terminal that line counts the seconds, and what is not finished grows above it; elsewhere neither exists, and
neither do colours.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.spinner import Spinner
from rich.text import Text
from rich.theme import Theme

from holdfast.cli.rendering.safely import SafeConsole
from holdfast.cli.words import one_line, seconds

__all__ = ("LiveLine", "indented", "open_console", "reset_line", "title", "with_person")

_THEME = Theme(
    {
        "markdown.h1": "bold underline",
        "markdown.h2": "bold",
        "markdown.h3": "bold dim",
        "markdown.code": "cyan",
        "markdown.block_quote": "italic",
        "markdown.item.number": "dim",
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
        "markdown.link": "",
        "markdown.link_url": "blue underline",
    }
)
"""Markdown without colours that only suit a dark ground."""
_WIDTH = 100
"""Columns of output that goes to no terminal."""
_PREVIEW = 12
"""Lines of what is not finished that are shown at most; a low window shows fewer."""
_INTERVAL = 0.1
"""Seconds between two drawings."""
_TITLE = 24
"""Columns that what is under way keeps before figures give way."""


def open_console(
    *, stderr: bool = False, plain: bool = False, sober: bool = False, file: TextIO | None = None
) -> SafeConsole:
    """Returns a console; a file or a pipe is wide enough for tables.

    `plain` is drawn as a file is, and `sober` as on a terminal without colours. `file` stands in for standard output.
    """
    options: dict[str, Any] = {"stderr": stderr, "highlight": False, "markup": False, "emoji": False, "theme": _THEME}
    if plain:
        options |= {"force_terminal": False, "no_color": True, "color_system": None}
    elif sober:
        options |= {"color_system": None}
    console = SafeConsole(**options, file=file)
    wide = console.is_terminal or "COLUMNS" in os.environ
    return console if wide else SafeConsole(**options, file=file, width=_WIDTH)


def with_person() -> bool:
    """Returns whether somebody sits in front of this: input and output are a terminal."""
    both: Any = (sys.stdin, sys.stdout)  # either is None when it was closed
    return all(stream is not None and stream.isatty() for stream in both)


def indented(console: Console, text: Text, by: int, *, hang: int = 0) -> None:
    """Prints text with its wrapped lines indented alike, those after the first by `hang` more, and no blanks at their
    ends.
    """
    for number, line in enumerate(text.wrap(console, max(20, console.width - by - hang))):
        line.rstrip()
        console.print(
            Text(" " * (by + hang * (number > 0))).append_text(line), no_wrap=True, overflow="ignore", crop=False
        )


def reset_line(console: Console) -> None:
    """Clears the line the cursor is in and shows the cursor: after whoever drew there left without doing so."""
    console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
    console.show_cursor(True)


class LiveLine:
    """What is under way; enter it, in an event loop, while there is something to show.

    What is above the line is asked for at each drawing; `figures` stand behind it, the most important first, and as
    many of them as there is room for.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = Spinner("dots", style="cyan")
        self._what = Text()
        self._since = 0.0
        self.figures: Callable[[], tuple[str, ...]] = tuple
        """What it all came to so far."""
        self.above: Callable[[int], list[Text]] | None = None
        """Gives what is not finished, in so many lines at most."""
        self._question: Text | None = None
        self._live: Live | None = None
        self._timer: asyncio.TimerHandle | None = None
        if console.is_interactive and console.file.isatty():
            # Its own thread would draw between the two halves of what is printed here, and leave remains behind.
            self._live = Live(console=console, auto_refresh=False, transient=True, get_renderable=self._drawn)

    @property
    def moves(self) -> bool:
        """Whether there is a line at all."""
        return self._live is not None

    def __enter__(self) -> LiveLine:
        if self._live is not None:
            self._live.start()
            self._tick()
        return self

    def __exit__(self, *_: object) -> None:
        self._what = Text()
        self._question = self.above = None
        if self._timer is not None:
            self._timer.cancel()
        if self._live is not None:
            self._live.stop()

    def _tick(self) -> None:
        if self._live is not None:
            self._live.refresh()
            self._timer = asyncio.get_running_loop().call_later(_INTERVAL, self._tick)

    def show(self, what: str | Text, since: float | None = None) -> None:
        """Shows what is under way, since a monotonic time or since now; empty for nothing."""
        self._what = Text(what) if isinstance(what, str) else what
        self._since = time.monotonic() if since is None else since

    def ask(self, question: Text | None) -> None:
        """Shows at once what a person is asked, in the place of all else; None for nothing any more."""
        self._question = question
        if self._live is not None:
            self._live.refresh()

    def _drawn(self) -> RenderableType:
        if self._question is not None:
            return self._question
        room = max(1, min(_PREVIEW, self._console.height - 4))
        lines = self.above(room) if self.above is not None else []
        if not self._what:
            return Group(*lines) if lines else Text()
        self._spinner.update(text=self._line())
        return Group(Text(), *lines, Text(), self._spinner) if lines else self._spinner

    def _line(self) -> Text:
        """What is under way and for how long, and figures; what is cut is the title, never the figures."""
        room = self._console.width - 3
        took = f"  {seconds(max(0.1, time.monotonic() - self._since))}"
        title = min(self._what.cell_len, _TITLE)
        figures = list(self.figures())
        while figures and title + len(took) + 2 + len(" · ".join(figures)) > room:
            figures.pop()
        tail = took + ("  " + " · ".join(figures) if figures else "")
        line = self._what.copy()
        line.truncate(max(6, room - len(tail)), overflow="ellipsis")
        return line.append(tail, "dim")


def title(name: str, words: str) -> Text:
    """Returns a call's name and what it is about."""
    return Text.assemble((one_line(name, 60), "bold"), " ", words)
