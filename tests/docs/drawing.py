"""Draws what stands on a terminal as a small SVG file: text in colours on a dark window, no fonts and no scripts in it.

Not here: how the terminal came to show it (`capturing.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape

from rich.cells import cell_len
from rich.color import Color, blend_rgb
from rich.color_triplet import ColorTriplet
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text
from tests.surfaces.vt import Vt

__all__ = ("Coloured", "draw", "segments_of")

_WIDE, _HIGH, _EDGE, _BAR = 8.4, 18, 14, 30
_NORMAL = "282c34 e06c75 8bc370 dbb464 61a0eb c478dd 56b6c2 bec4ce"
_BRIGHT = "6e7480 f0828a a0d686 ebc882 7db4f5 d694ec 74ced9 eceff4"


def _triplets(words: str) -> list[tuple[int, int, int]]:
    return [(int(word[:2], 16), int(word[2:4], 16), int(word[4:], 16)) for word in words.split()]


_THEME = TerminalTheme((24, 26, 31), (212, 216, 224), _triplets(_NORMAL), _triplets(_BRIGHT))
"""Background, letters, and the sixteen colours of a terminal."""
_SPACE = "\N{NO-BREAK SPACE}"


class Coloured(Vt):
    """A screen that keeps the colours: each of its letters stands behind the sequence that dresses it."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__(columns, rows)
        self._dress = "0"

    def _control(self, control: re.Match[str]) -> None:
        private, given, final = control[1], control[2], control[3]
        if final == "m" and not private:
            bare = not given or given == "0"
            self._dress = "0" if bare else given if given.startswith("0;") else f"{self._dress};{given}"
        else:
            super()._control(control)

    def _put(self, letter: str) -> None:
        super()._put(f"\x1b[{self._dress}m{letter}\x1b[0m")


def segments_of(lines: Iterable[str]) -> Iterator[list[Segment]]:
    """Yields lines of a terminal, with the sequences that dress them, as dressed pieces."""
    console = Console(width=500, color_system="truecolor", force_terminal=True)
    for line in lines:
        text = Text.from_ansi(line)
        yield list(text.render(console))


def draw(lines: Iterable[Iterable[Segment]], title: str, columns: int) -> str:
    """Returns the picture of a window that is so many columns wide."""
    drawn = [_row(line, _BAR + number * _HIGH) for number, line in enumerate(lines)]
    rows, count = [part for row in drawn for part in row], len(drawn)
    width, height = round(columns * _WIDE + 2 * _EDGE), _BAR + count * _HIGH + _EDGE
    dots = "".join(
        f'<circle cx="{18 + 16 * n}" cy="15" r="5" fill="{colour}"/>'
        for n, colour in enumerate(("#e06c75", "#dbb464", "#8bc370"))
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" rx="8" fill="{_THEME.background_color.hex}"/>',
            dots,
            f'<text x="{width / 2:g}" y="20" text-anchor="middle" font-family="sans-serif" font-size="12" '
            f'fill="#8a90a0">{escape(title)}</text>',
            f'<g font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="14" '
            f'fill="{_THEME.foreground_color.hex}">',
            *rows,
            "</g></svg>",
            "",
        ]
    )


def _row(line: Iterable[Segment], top: float) -> Iterator[str]:
    words: list[str] = []
    grounds: list[tuple[int, int, ColorTriplet]] = []
    column = 0
    for text, style, _ in Segment.simplify(line):
        begin, column = column, column + cell_len(text)
        letters, ground = _colours(style or Style())
        if ground is not None:
            if grounds and grounds[-1][1:] == (begin, ground):
                begin = grounds.pop()[0]
            grounds.append((begin, column, ground))
        if said := text.strip():  # blanks at the ends are drawn differently everywhere, so none are drawn
            left = column - cell_len(text.lstrip())
            place = f'x="{_EDGE + left * _WIDE:g}" y="{top + 13.5:g}" textLength="{cell_len(said) * _WIDE:g}"'
            words.append(f"<text {place}{_look(style, letters)}>{escape(said).replace(' ', _SPACE)}</text>")
    for begin, end, ground in grounds:
        place = f'x="{_EDGE + begin * _WIDE:g}" y="{top:g}" width="{(end - begin) * _WIDE + 0.3:g}"'
        yield f'<rect {place} height="{_HIGH + 0.3:g}" fill="{ground.hex}"/>'
    yield from words


def _colours(style: Style) -> tuple[ColorTriplet, ColorTriplet | None]:
    """Returns the colours of the letters and of what is behind them, where that is not the window."""
    letters = _triplet(style.color, _THEME.foreground_color)
    ground = _triplet(style.bgcolor, _THEME.background_color)
    if style.reverse:
        letters, ground = ground, letters
    if style.dim:
        letters = blend_rgb(letters, ground, 0.45)
    return letters, None if ground == _THEME.background_color else ground


def _triplet(colour: Color | None, default: ColorTriplet) -> ColorTriplet:
    return default if colour is None or colour.is_default else colour.get_truecolor(_THEME)


def _look(style: Style | None, letters: ColorTriplet) -> str:
    look = "" if letters == _THEME.foreground_color else f' fill="{letters.hex}"'
    if style is not None and style.bold:
        look += ' font-weight="bold"'
    if style is not None and style.italic:
        look += ' font-style="italic"'
    return look + (' text-decoration="underline"' if style is not None and style.underline else "")
