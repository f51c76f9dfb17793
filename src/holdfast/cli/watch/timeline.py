"""The timeline: a row for each event, one of them selected; it goes along with what is new while the last one is."""

from __future__ import annotations

from typing import ClassVar, final

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from holdfast.cli.watch.lines import VirtualLines, strips_of
from holdfast.cli.watch.rows import Row, Rows, line_of

__all__ = ("TimelinePane",)


@final
class TimelinePane(VirtualLines):
    """All events of a session."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"timeline--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown,space", "page(1)", show=False),
        Binding("home,g", "first", show=False),
        Binding("end,G", "last", show=False),
        Binding("left_square_bracket", "run(-1)", show=False),
        Binding("right_square_bracket", "run(1)", show=False),
    ]

    class Selected(Message):
        """Another row is the selected one."""

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows = Rows()
        self._cursor = 0
        self._digits = 3
        self._shown = 0

    def show(self, rows: Rows) -> None:
        """Shows another session, its last event selected."""
        self._rows, self._cursor, self._shown = rows, 0, 0
        self.grown()

    def grown(self) -> None:
        """Takes rows in that were added; what a rewind changed is drawn anew."""
        rows = self._rows.rows
        follows = self._cursor >= self._shown - 1
        self._shown = len(rows)
        digits = max(3, len(str(rows[-1].seq))) if rows else 3
        self._digits = digits
        self.forget()
        self.virtual_size = Size(self.columns, len(rows))
        if follows and rows:
            self._select(len(rows) - 1)
            self.call_after_refresh(self._in_sight)  # it may not have been laid out yet, or be about to be anew

    @property
    def selected(self) -> Row | None:
        """The selected row; None while there is none."""
        rows = self._rows.rows
        return rows[self._cursor] if self._cursor < len(rows) else None

    def select(self, seq: int) -> None:
        """Selects an event by its number."""
        for at, row in enumerate(self._rows.rows):
            if row.seq == seq:
                self._select(at)
                return

    def line(self, at: int, width: int) -> Strip:
        """Returns a row as it is drawn."""
        return strips_of([line_of(self._rows.rows[at], self._digits, width)], width)[0]

    def ground(self, at: int) -> Style:
        """Returns the selected row's ground, or everything else's."""
        if at != self._cursor:
            return self.rich_style
        return self.get_component_rich_style("timeline--cursor")

    def on_resize(self, event: Resize) -> None:
        """Draws rows for the new width, the selected one in sight."""
        super().on_resize(event)
        self.virtual_size = Size(self.columns, len(self._rows.rows))
        self.call_after_refresh(self._in_sight)

    # ---- keys -----------------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Selects the next event in a direction."""
        rows, at = self._rows.rows, self._cursor + by
        while 0 <= at < len(rows) and rows[at].event is None:
            at += by
        if 0 <= at < len(rows):
            self._select(at)

    def action_page(self, by: int) -> None:
        """Goes a page on."""
        self._go(self._cursor + by * max(1, self.size.height - 1))

    def action_first(self) -> None:
        """Selects the first event."""
        self._go(0)

    def action_last(self) -> None:
        """Selects the last event, and goes along with what comes."""
        self._go(len(self._rows.rows) - 1)

    def action_run(self, by: int) -> None:
        """Goes to the next heading in a direction."""
        rows, at = self._rows.rows, self._cursor + by
        if by < 0:
            at -= 1  # out of the heading just above
        while 0 <= at < len(rows) and rows[at].event is not None:
            at += by
        self._go(at)

    def on_click(self, event: Click) -> None:
        """Selects the row that was clicked."""
        at = event.get_content_offset_capture(self).y + self.scroll_offset.y
        if at < len(self._rows.rows):
            self._go(at)

    def _go(self, at: int) -> None:
        rows = self._rows.rows
        at = min(max(at, 0), len(rows) - 1)
        if at >= 0 and rows[at].event is None and at + 1 < len(rows):
            at += 1
        if at >= 0:
            self._select(at)

    def _select(self, at: int) -> None:
        before, self._cursor = self._cursor, at
        self.refresh_line(before)
        self.refresh_line(at)
        self._in_sight()
        self.post_message(self.Selected(self._rows.rows[at]))

    def _in_sight(self) -> None:
        """Scrolls to the selected row, with the heading above it if there is one."""
        at, rows = self._cursor, self._rows.rows
        heading = 0 < at < len(rows) and rows[at - 1].event is None
        self.scroll_to_region(Region(0, at - heading, 1, 1 + heading), animate=False, x_axis=False)
