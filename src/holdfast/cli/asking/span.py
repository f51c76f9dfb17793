"""What a person writes behind an option: a number, a length of time, as `90`, `90s`, `10m`, `2h`, `1d`, or how often.

Each says what would have done, in a person's words.
"""

from __future__ import annotations

import math
import re
from typing import Any, final

import click

__all__ = ("Amount", "Span", "Times", "Whole")

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)", re.ASCII)


@final
class Span(click.ParamType[float]):
    """Seconds, or minutes, hours or days with their letter; what comes out is seconds."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the seconds."""
        if isinstance(value, float):
            return value
        found = _FORM.fullmatch(str(value).strip())
        if found is None or not 0 < (seconds := float(found[1]) * _SECONDS[found[2]]) < 1e9:
            self.fail(f"{value!r} is no time: write it as 90s, 10m, 2h or 1d", param, ctx)
        return seconds


@final
class Times(click.ParamType[int]):
    """How often, behind an option that may stand without a number and so takes the word behind it for one."""

    name = "times"
    _MOST = 1000

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the number."""
        said = str(value).strip()
        if said.isascii() and said.isdigit() and len(said) < 10 and int(said) <= self._MOST:
            return int(said)
        name = "it" if param is None else param.opts[0]
        number = said.lstrip("+-").isdigit()
        instead = f"write 0 to {self._MOST:,}" if number else f"put the prompt first, or write {name} 1 before it"
        return self.fail(f"{value!r} is no number of times: {instead}", param, ctx)


@final
class Whole(click.IntRange):
    """A whole number within bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the number."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} will not do: give a whole number {_bounds(self.min, self.max)}", param, ctx)


@final
class Amount(click.FloatRange):
    """A number within bounds, which may be broken."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the number."""
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            number = math.nan
        if not math.isfinite(number):
            bounds = _bounds(self.min, self.max, over=self.min_open)
            self.fail(f"{value!r} will not do: give a number {bounds}, as in 2.5", param, ctx)
        return number


def _bounds(least: float | None, most: float | None, *, over: bool = False) -> str:
    begins = [] if least is None else [f"over {least:g}" if over else f"from {least:g}"]
    return " ".join([*begins, *([] if most is None else [f"and up to {most:,g}" if over else f"to {most:,g}"])])
