"""Expressions of numbers and what they come to: what Python prints for them, or a refusal in words.

An expression comes from a model, so nothing of it is run as code: only numbers, operators and the functions listed here
are known. How large a value would be is found out before it is computed, where it could be large: each step costs at
most what numbers of `BITS` bits cost, and there are no more steps than characters. Nothing here calls itself, so
how deep an expression nests does not matter. Comparisons, variables and complex numbers are left out on purpose.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from functools import reduce
from typing import Any, Final

import msgspec

from holdfast.tools.binding import ToolFailure

__all__ = ("BITS", "LONGEST", "Number", "evaluate")

Number = int | float

LONGEST: Final = 4_000
"""Characters of an expression."""
BITS: Final = 4_096
"""Bits of a whole number: some 1,230 digits."""
_MOST_OF_PRODUCT: Final = 1_000
"""Factors that certainly come to more than `BITS` bits."""
_PLACES: Final = 1_300
_NUMBER: Final = (
    r"(?:0[xX][\da-fA-F_]++|0[oO][0-7_]++|0[bB][01_]++|(?:\d[\d_]*+\.?[\d_]*+|\.\d[\d_]*+)(?:[eE][-+]?+\d[\d_]*+)?+)"
)
_PIECE: Final = re.compile(rf"[ \t]++|[-+*/%(),]|{_NUMBER}(?![\w.])|[A-Za-z_][\w.]*+", re.ASCII)
_INSTEAD: Final = {"^": " (a power is written **)", "=": " (there are no variables and no comparisons)"}


class _Apply(msgspec.Struct, frozen=True, gc=False):
    """A step: a function, and how many of the last values it takes."""

    function: Callable[..., Any]
    takes: int
    name: str


def evaluate(text: str) -> Number:
    """Returns what an expression comes to: the very number that Python has for it.

    Raises:
        ToolFailure: it is none, or too large, or comes to no finite number; the code is `invalid_input`.
    """
    work: list[ast.expr | _Apply] = [_parsed(text)]
    values: list[Number] = []
    while work:
        step = work.pop()
        if isinstance(step, _Apply):
            first = len(values) - step.takes
            arguments = values[first:]
            del values[first:]
            values.append(_applied(step, arguments))
        else:
            _unfold(step, work, values)
    return values[0]


def _parsed(text: str) -> ast.expr:
    text = text.strip()
    if len(text) > LONGEST:
        raise _refused(f"it has {len(text):,} characters, and {LONGEST:,} are read: compute it in parts")
    at = 0
    while at < len(text):
        piece = _PIECE.match(text, at)
        if piece is None:
            raise _refused(f"{text[at]!r} means nothing here{_INSTEAD.get(text[at], '')}: write numbers, {_KNOWN}")
        at = piece.end()
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise _refused(f"it is no expression ({error.msg}): write it as in Python") from None
    except (RecursionError, MemoryError, ValueError):
        raise _refused("it nests too deep: compute it in parts") from None


def _unfold(node: ast.expr, work: list[ast.expr | _Apply], values: list[Number]) -> None:
    """Puts down what is to be done for a part of the expression, the last of it first."""
    match node:
        case ast.Constant(value=value):
            values.append(_fitting(value))
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="math"), attr=name) if name in _CONSTANTS:
            values.append(_CONSTANTS[name])
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            work += (_UNARY[type(op)], operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            work += (_BINARY[type(op)], right, left)
        case ast.Call(func=function, args=arguments, keywords=[]):
            work.append(_Apply(*_function(function, len(arguments))))
            work += reversed(arguments)
        case ast.Call():
            raise _refused("arguments have no names here: give them by their order")
        case ast.Name(id=name) | ast.Attribute(attr=name):
            raise _refused(f"{name!r} is not known: there are {_KNOWN}")
        case _:
            raise _refused(f"it is more than a sum: there are {_KNOWN}")


def _function(node: ast.expr, takes: int) -> tuple[Callable[..., Any], int, str]:
    match node:
        case ast.Name(id=name) if name in _FUNCTIONS:
            return _FUNCTIONS[name], takes, name
        case ast.Attribute(value=ast.Name(id="math"), attr=name) if name in _OF_MATH:
            return _FUNCTIONS[name], takes, name
        case ast.Name(id=name) | ast.Attribute(attr=name):
            raise _refused(f"there is no function {name!r}: there are {_KNOWN}")
        case _:
            raise _refused("only a function can be called: write * between what is to be multiplied")


def _applied(step: _Apply, arguments: list[Number]) -> Number:
    try:
        return _fitting(step.function(*arguments))
    except ZeroDivisionError as error:
        raise _refused(f"{step.name}: {error}") from None
    except OverflowError:
        raise _refused(f"{step.name} comes to more than a number with decimals can be") from None
    except (TypeError, ValueError) as error:
        raise _refused(f"{step.name}: {error}") from None


def _fitting(value: object) -> Number:
    """Returns a value that is a number, finite and not too large.

    Raises:
        ToolFailure: it is not.
    """
    if type(value) is int:
        if value.bit_length() > BITS:
            raise _too_large()
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise _refused("it comes to no finite number: use smaller ones")
        return value
    if isinstance(value, complex):
        raise _refused("it comes to a complex number, and only real ones are computed here")
    raise _refused(f"{str(value)[:40]!r} is no number")


def _divided(one: Number, other: Number) -> Number:
    return one / other


def _floor_divided(one: Number, other: Number) -> Number:
    return one // other


def _power(base: Number, exponent: Number) -> Any:
    # At least this many bits, and at most twice as many, so what passes is quickly computed.
    certain = isinstance(base, int) and isinstance(exponent, int) and exponent > 0 and abs(base) > 1
    if certain and (int(base).bit_length() - 1) * int(exponent) > BITS:
        raise _too_large()
    return base**exponent


def _factorial(number: Any) -> int:
    if isinstance(number, int) and number > _MOST_OF_PRODUCT:
        raise _too_large()
    return math.factorial(number)


def _comb(number: Any, chosen: Any) -> int:
    if isinstance(number, int) and isinstance(chosen, int) and 0 <= chosen <= number:
        fewer = min(chosen, number - chosen)  # the result is at least (number / fewer) ** fewer
        if fewer > BITS or (number.bit_length() - 1 - fewer.bit_length()) * fewer > BITS:
            raise _too_large()
    return math.comb(number, chosen)


def _perm(number: Any, chosen: Any = None) -> int:
    if chosen is None:
        return _factorial(number)
    if isinstance(number, int) and isinstance(chosen, int) and 0 <= chosen <= number:
        smallest = number - chosen + 1
        if chosen > _MOST_OF_PRODUCT or (smallest.bit_length() - 1) * chosen > BITS:
            raise _too_large()
    return math.perm(number, chosen)


def _lcm(*numbers: Any) -> int:
    def pair(one: int, other: int) -> int:
        found = math.lcm(one, other)
        if found.bit_length() > BITS:
            raise _too_large()
        return found

    return reduce(pair, numbers, 1)


def _round(number: Number, places: Any = None) -> Any:
    if isinstance(places, int) and abs(places) > _PLACES:
        raise _refused(f"round: at most {_PLACES:,} places")
    return round(number, places)


def _refused(why: str) -> ToolFailure:
    return ToolFailure(f"Not computed: {why}.", code="invalid_input", metadata={"ui": "calculation"})


def _too_large() -> ToolFailure:
    return _refused("a whole number in it has more than 1,230 digits: use smaller ones, or decimals such as 2.0")


_UNARY: Final[dict[type[ast.unaryop], _Apply]] = {
    ast.UAdd: _Apply(operator.pos, 1, "+"),
    ast.USub: _Apply(operator.neg, 1, "-"),
}
_BINARY: Final[dict[type[ast.operator], _Apply]] = {
    ast.Add: _Apply(operator.add, 2, "+"),
    ast.Sub: _Apply(operator.sub, 2, "-"),
    ast.Mult: _Apply(operator.mul, 2, "*"),
    ast.Div: _Apply(_divided, 2, "/"),
    ast.FloorDiv: _Apply(_floor_divided, 2, "//"),
    ast.Mod: _Apply(operator.mod, 2, "%"),
    ast.Pow: _Apply(_power, 2, "**"),
}
_CONSTANTS: Final = {"pi": math.pi, "e": math.e, "tau": math.tau}
_BOUNDED: Final[dict[str, Callable[..., Any]]] = {"factorial": _factorial, "comb": _comb, "perm": _perm, "lcm": _lcm}
_PLAIN: Final[list[str]] = re.findall(
    r"\w+",
    "acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh degrees erf erfc exp exp2 expm1 fabs floor "
    "fmod gamma gcd hypot isqrt lgamma log log10 log1p log2 radians remainder sin sinh sqrt tan tanh trunc",
)
"""Functions of `math` whose results are no larger than what they are given, or no whole numbers."""
_OF_MATH: Final = {**_BOUNDED, **{name: getattr(math, name) for name in _PLAIN}}
_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {**_OF_MATH, "abs": abs, "max": max, "min": min, "round": _round}
_KNOWN: Final = f"+ - * / // % **, parentheses, {', '.join(_CONSTANTS)}, {', '.join(sorted(_FUNCTIONS))}"
