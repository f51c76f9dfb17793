"""A terminal as far as the command line uses one: what a person sees after everything that was written to it."""

from __future__ import annotations

import re
from collections.abc import Callable

_CONTROL = re.compile(
    r"\x1b\[([?>=]?)([0-9;]*)([@-~])|\x1b\[[0-9]*[ !][@-~]"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]|\x1b[^\[\]()]"
)
_BEGUN = re.compile(r"\x1b(?:\[[?>=]?[0-9;]*[ !]?|\][^\x07]*|[()])?$")


class Vt:
    """A screen and everything that scrolled off it."""

    def __init__(self, columns: int, rows: int) -> None:
        self.gone: list[str] = []
        self.bad: list[str] = []
        """Control sequences that this does not know."""
        self._columns = columns
        self._rows = rows
        self._x = self._y = 0
        self._saved = (0, 0)
        self._cells: list[list[str]] = [[] for _ in range(rows)]
        self._held = ""
        self._moves: dict[str, Callable[[int], None]] = {
            "A": lambda n: self._go(self._x, self._y - n),
            "B": lambda n: self._go(self._x, self._y + n),
            "C": lambda n: self._go(self._x + n, self._y),
            "D": lambda n: self._go(self._x - n, self._y),
            "G": lambda n: self._go(n - 1, self._y),
        }

    @property
    def lines(self) -> list[str]:
        """What stands there now, without what scrolled away."""
        return ["".join(row).rstrip() for row in self._cells]

    @property
    def text(self) -> str:
        """Everything, from the beginning."""
        return "\n".join([*self.gone, *self.lines]).rstrip()

    def feed(self, data: str) -> None:
        """Takes what a program wrote; the beginning of a sequence is kept for the next time."""
        data = self._held + data
        begun = _BEGUN.search(data)
        self._held = data[begun.start() :] if begun else ""
        data = data[: begun.start()] if begun else data
        at = 0
        for control in _CONTROL.finditer(data):
            self._write(data[at : control.start()])
            self._control(control)
            at = control.end()
        self._write(data[at:])

    def _control(self, control: re.Match[str]) -> None:
        private, given, final = control[1], control[2], control[3]
        if control[0] == "\x1b7":
            self._saved = (self._x, self._y)
        elif control[0] == "\x1b8":
            self._go(*self._saved)
        if final is None or private or final in "mhln":
            return
        numbers = [int(each or 0) for each in given.split(";")] if given else []
        first = numbers[0] if numbers else 0
        if final in self._moves:
            self._moves[final](first or 1)
        elif final in "Hf":
            self._go((numbers[1] if len(numbers) > 1 else 1) - 1, (first or 1) - 1)
        elif final == "r":  # whoever sets margins goes to the corner
            self._go(0, 0)
        elif final == "J":
            self._erase_screen(first)
        elif final == "K":
            self._erase_line(first)
        else:
            self.bad.append(control[0])

    def _write(self, text: str) -> None:
        for letter in text:
            match letter:
                case "\r":
                    self._x = 0
                case "\n":
                    self._down()
                case "\b":
                    self._go(self._x - 1, self._y)
                case "\t":
                    self._go(self._x // 8 * 8 + 8, self._y)
                case _ if letter < " " or letter == "\x7f":
                    if letter != "\x07":
                        self.bad.append(letter)
                case _:
                    self._put(letter)

    def _put(self, letter: str) -> None:
        if self._x >= self._columns:
            self._x = 0
            self._down()
        row = self._cells[self._y]
        row.extend(" " * (self._x + 1 - len(row)))
        row[self._x] = letter
        self._x += 1

    def _down(self) -> None:
        if self._y + 1 < self._rows:
            self._y += 1
            return
        self.gone.append("".join(self._cells.pop(0)).rstrip())
        self._cells.append([])

    def _go(self, x: int, y: int) -> None:
        self._x, self._y = min(max(x, 0), self._columns - 1), min(max(y, 0), self._rows - 1)

    def _erase_line(self, how: int) -> None:
        row = self._cells[self._y]
        if how == 0:
            del row[self._x :]
        else:
            end = len(row) if how == 2 else self._x + 1
            row[:end] = " " * min(end, len(row))

    def _erase_screen(self, how: int) -> None:
        if how == 0:
            self._erase_line(0)
        first = self._y + 1 if how == 0 else 0
        for y in range(first, self._rows):
            self._cells[y] = []
