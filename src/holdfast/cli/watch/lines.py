"""Panes of lines, of which only those on the screen are drawn: ten thousand cost no more than ten.

A pane's lines are text or strips; nothing in them is read as markup, and nothing in them can be clicked.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from holdfast.cli.terminal import open_console

__all__ = ("Block", "Pane", "VirtualLines", "strips_of")

_KEPT = 512
"""Lines that are kept drawn."""


class VirtualLines(ScrollView, can_focus=True):
    """Lines that are drawn when they come into sight."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", show=False),
        Binding("k", "scroll_up", show=False),
        Binding("g,home", "scroll_home", show=False),
        Binding("G,end", "scroll_end", show=False),
        Binding("space", "page_down", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._kept: OrderedDict[int, Strip] = OrderedDict()

    def line(self, at: int, width: int) -> Strip:
        """Returns line number `at`, for so many columns."""
        raise NotImplementedError

    def ground(self, at: int) -> Style:
        """Returns what line number `at` is drawn on."""
        del at
        return self.rich_style

    def render_line(self, y: int) -> Strip:
        """Returns what is in row `y` of the pane."""
        width, at = self.columns, y + self.scroll_offset.y
        if at >= self.virtual_size.height:
            return Strip.blank(width, self.rich_style)
        strip = self._kept.get(at)
        if strip is None:
            strip = self._kept[at] = self.line(at, width)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        ground = self.ground(at)
        return strip.crop_extend(0, width, ground).apply_style(ground)

    def forget(self) -> None:
        """Draws everything anew."""
        self._kept.clear()
        self.refresh()

    def on_resize(self, event: Resize) -> None:
        """Draws lines for the new width."""
        del event
        self.forget()

    @property
    def columns(self) -> int:
        """How wide a line may be."""
        return self.scrollable_content_region.width


class Block:
    """Something that is drawn over one or more lines, and once for each width."""

    def __init__(self, *parts: RenderableType) -> None:
        self._parts = parts
        self._width = 0
        self._strips: list[Strip] = []

    def strips(self, width: int) -> list[Strip]:
        """Returns its lines."""
        if self._width != width:
            self._width, self._strips = width, strips_of(self._parts, width)
        return self._strips


class Pane(VirtualLines):
    """Blocks below each other, wrapped to the width, and followed while the end is in sight."""

    def __init__(self, *, follows: bool = False, id: str | None = None) -> None:
        """`follows` keeps the end in sight as long as a person has not gone back."""
        super().__init__(id=id)
        self._blocks: Sequence[Block] = ()
        self._strips: list[Strip] = []
        self._follows = follows
        self._at_end = True
        """Whether the end was in sight when it was last scrolled."""

    def show(self, blocks: Sequence[Block], *, top: bool = False) -> None:
        """Shows these blocks, from the top if wanted."""
        self._blocks = blocks
        self._lay()
        if top:
            self.scroll_to(y=0, animate=False)

    @property
    def plain(self) -> str:
        """All of it as text."""
        return "\n".join(strip.text.rstrip() for strip in self._strips)

    def line(self, at: int, width: int) -> Strip:
        """Returns a line that is drawn already."""
        del width
        return self._strips[at] if at < len(self._strips) else Strip([])

    def on_resize(self, event: Resize) -> None:
        """Wraps everything anew."""
        super().on_resize(event)
        self._lay()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Remembers whether the end is in sight."""
        super().watch_scroll_y(old_value, new_value)
        self._at_end = round(new_value) >= self.max_scroll_y

    def _lay(self) -> None:
        width = max(10, self.columns)
        self._strips = [strip for block in self._blocks for strip in block.strips(width)]
        self.virtual_size = Size(width, len(self._strips))
        self.forget()
        if self._follows and self._at_end:
            self.call_after_refresh(self.scroll_end, animate=False)


def strips_of(parts: Sequence[RenderableType], width: int) -> list[Strip]:
    """Returns what there is to draw as lines of that width at most."""
    console = _console()
    options = console.options.update(width=width)
    strips: list[Strip] = []
    for part in parts:
        if isinstance(part, Text):
            part.overflow = "fold"
        drawn = console.render_lines(part, options, pad=False)
        strips += [Strip([each for each in segments if not each.control] or [Segment("")]) for segments in drawn]
    return strips


@functools.cache
def _console() -> Console:
    """What lays lines out; it prints nothing."""
    return open_console()
