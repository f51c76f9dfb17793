"""Which key does what on the input line; everything not here is as in Emacs and readline."""

from __future__ import annotations

from typing import Protocol

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from holdfast.cli.asking.answers import ALWAYS, ONCE

__all__ = ("Keys", "bindings")


class Keys(Protocol):
    """What keys act on."""

    @property
    def asks(self) -> bool:
        """Whether a question is open."""
        ...

    @property
    def asks_for_a_key(self) -> bool:
        """Whether a letter is an answer."""
        ...

    @property
    def denying(self) -> bool:
        """Whether the line is the reason for a no."""
        ...

    def enter(self, *, later: bool = False) -> None:
        """Sends the line."""
        ...

    def answer(self, said: str) -> None:
        """Answers the question that is open."""
        ...

    def deny(self) -> None:
        """Asks for the reason of a no."""
        ...

    def undo_deny(self) -> None:
        """Goes back to the question."""
        ...

    def interrupt(self) -> None:
        """Does what Ctrl-C does."""
        ...

    def leave(self) -> None:
        """Ends the reading of lines."""
        ...

    def wipe(self) -> None:
        """Clears the screen."""
        ...


def bindings(keys: Keys, buffer: Buffer) -> KeyBindings:
    """Returns the bindings."""
    bound = KeyBindings()
    empty = Condition(lambda: not buffer.text)

    @bound.add("enter")
    def _(event: KeyPressEvent) -> None:
        if not keys.denying and buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.newline(copy_margin=False)
        else:
            keys.enter()

    @bound.add("escape", "enter")
    @bound.add("c-j")
    def _(event: KeyPressEvent) -> None:
        buffer.newline(copy_margin=False)

    @bound.add("escape", "q")
    def _(event: KeyPressEvent) -> None:
        keys.enter(later=True)

    @bound.add("c-c")
    @bound.add("<sigint>")
    def _(event: KeyPressEvent) -> None:
        keys.interrupt()

    @bound.add("c-d", filter=empty)
    def _(event: KeyPressEvent) -> None:
        keys.leave()

    @bound.add("c-l")
    def _(event: KeyPressEvent) -> None:
        keys.wipe()

    _bind_answers(bound, keys)
    return bound


def _bind_answers(bound: KeyBindings, keys: Keys) -> None:
    by_letter, asks = Condition(lambda: keys.asks_for_a_key), Condition(lambda: keys.asks)

    @bound.add("y", filter=by_letter)
    @bound.add("escape", "y", filter=asks)
    def _(event: KeyPressEvent) -> None:
        keys.answer(ONCE)

    @bound.add("a", filter=by_letter)
    @bound.add("escape", "a", filter=asks)
    def _(event: KeyPressEvent) -> None:
        keys.answer(ALWAYS)

    @bound.add("n", filter=by_letter)
    @bound.add("escape", "n", filter=asks)
    def _(event: KeyPressEvent) -> None:
        keys.deny()

    @bound.add("escape", filter=Condition(lambda: keys.denying))
    def _(event: KeyPressEvent) -> None:
        keys.undo_deny()
