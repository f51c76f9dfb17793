"""What stands over the screen for a moment: a question, a line to fill in, something to read, sessions to choose from.

Titles and lines are text, never markup: they hold names and words of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar, final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from holdfast.cli.watch.lines import Block, Pane

__all__ = ("Choice", "Confirm", "Fill", "Sheet")

T = TypeVar("T")


class _Question(ModalScreen[T]):
    """A box with a few lines, and below them what is asked."""

    def __init__(self, title: str, lines: Sequence[Text]) -> None:
        super().__init__()
        self._title = title
        self._lines = lines

    def compose(self) -> ComposeResult:
        """Makes the box."""
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self._title)  # pyright: ignore[reportAttributeAccessIssue] - it takes content
            yield Static(Text("\n").join(self._lines), classes="dialog-words")
            yield from self.asked()

    def asked(self) -> ComposeResult:
        """Makes what stands below the lines."""
        raise NotImplementedError


@final
class Confirm(_Question[bool]):
    """Asks yes or no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "done(True)", show=False),
        Binding("n,escape,q", "done(False)", show=False),
    ]

    def __init__(self, title: str, lines: Sequence[Text], yes: str) -> None:
        """`yes` says what `y` does."""
        super().__init__(title, lines)
        self._yes = yes

    def asked(self) -> ComposeResult:
        """Says what the keys do."""
        yield Static(Text.assemble(("y", "bold green"), f" {self._yes}   ", ("n", "bold"), " no"), classes="keys")

    def action_done(self, answer: bool) -> None:
        """Gives the answer."""
        self.dismiss(answer)


@final
class Fill(_Question[str | None]):
    """Asks for a line; None when it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False)]

    def __init__(self, title: str, lines: Sequence[Text], hint: str) -> None:
        """`hint` stands in the empty line."""
        super().__init__(title, lines)
        self._hint = hint

    def asked(self) -> ComposeResult:
        """Makes the line, and says what the keys do."""
        yield Input(placeholder=self._hint, id="line")
        yield Static(Text.assemble(("Enter", "bold"), " go on   ", ("Esc", "bold"), " leave"), classes="keys")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Gives the line."""
        event.stop()
        self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        """Gives nothing."""
        self.dismiss(None)


@final
class Sheet(ModalScreen[None]):
    """Something to read, as long as it may be."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,d,question_mark,enter", "leave", show=False)]

    def __init__(self, title: str, lines: Sequence[Text]) -> None:
        super().__init__()
        self._title = title
        self._lines = lines

    def compose(self) -> ComposeResult:
        """Makes the box."""
        with Vertical(classes="sheet") as box:
            box.border_title = Content(self._title)  # pyright: ignore[reportAttributeAccessIssue] - it takes content
            box.border_subtitle = "Esc closes"
            yield Pane(id="sheet")

    def on_mount(self) -> None:
        """Shows what there is to read."""
        self.query_one("#sheet", Pane).show([Block(*self._lines)])

    def action_leave(self) -> None:
        """Goes away."""
        self.dismiss(None)


@final
class Choice(ModalScreen[str | None]):
    """Asks for one of several; None when it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", show=False),
        Binding("j", "move(1)", show=False),
        Binding("k", "move(-1)", show=False),
    ]

    def __init__(self, title: str, choices: Sequence[tuple[str, Text]]) -> None:
        """Choices are what is given back, and what stands for it."""
        super().__init__()
        self._title = title
        self._choices = choices

    def compose(self) -> ComposeResult:
        """Makes the box."""
        with Vertical(classes="sheet") as box:
            box.border_title = Content(self._title)  # pyright: ignore[reportAttributeAccessIssue] - it takes content
            box.border_subtitle = "Enter watches it · Esc leaves"
            yield OptionList(*[Option(Content.from_rich_text(words)) for _, words in self._choices], id="choices")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Gives what was chosen."""
        event.stop()
        self.dismiss(self._choices[event.option_index][0])

    def action_move(self, by: int) -> None:
        """Goes to the next one in a direction."""
        listed = self.query_one(OptionList)
        if by > 0:
            listed.action_cursor_down()
        else:
            listed.action_cursor_up()

    def action_leave(self) -> None:
        """Gives nothing."""
        self.dismiss(None)
