"""What a person knows better of a model than the catalogue, or of a model of their own.

It stands in settings, by full name and field: `models: {openai/mine: {input: 1.5, output: 6}}`. Each wrong word is an
error that names the field.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast, get_args

import msgspec

from holdfast.errors import UsageError
from holdfast.errors.hinting import hint
from holdfast.models.catalogue.cards import Input, ModelCard, assumed_output
from holdfast.types import Price, ThinkingLevel

__all__ = ("FIELDS", "Facts", "overridden", "read_fact", "read_facts")

_DEAREST = 1_000_000.0
"""Dollars per million tokens that are no price but a slip."""
_LONGEST = 10**12
_INPUTS: tuple[str, ...] = get_args(Input)
_LEVELS: tuple[str, ...] = get_args(ThinkingLevel)
_RATES = ("input", "output", "cache_read", "cache_write")


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What settings say of one model; None leaves a fact as the catalogue has it.

    Raises:
        UsageError: a field holds what it cannot; the message names it.
    """

    input: float | None = None
    """Dollars per million tokens, as are the next three. A price replaces the catalogue's as a whole, its tiers too."""
    output: float | None = None
    cache_read: float | None = None
    """As much as `input` when it is left out, as is `cache_write`."""
    cache_write: float | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    inputs: frozenset[Input] | None = None
    thinking: tuple[ThinkingLevel, ...] | None = None
    prefill: bool | None = None

    def __post_init__(self) -> None:
        for field in FIELDS:
            if (value := getattr(self, field)) is not None:
                msgspec.structs.force_setattr(self, field, _checked(field, value, field))  # what was given may change
        _complete(self, "")

    @property
    def price(self) -> Price | None:
        """The price they give; None when they give none."""
        if self.input is None or self.output is None:
            return None
        return Price.per_million(self.input, self.output, cache_read=self.cache_read, cache_write=self.cache_write)


def _complete(facts: Facts, where: str) -> None:
    """Raises where a price is given in part: the rest would have to be guessed."""
    given = [field for field in _RATES if getattr(facts, field) is not None]
    missing = next((field for field in ("input", "output") if field not in given), None)
    if given and missing:
        raise UsageError(f"{where}{missing} is missing beside {given[0]}: a price needs both input and output")


def overridden(card: ModelCard, facts: Facts | None, price: Price | None = None) -> ModelCard:
    """Returns a card with what settings say in the place of what it said."""
    if facts is None:
        return msgspec.structs.replace(card, price=price, by_hour=False)
    changes: dict[str, Any] = {"given": card.given | {each for each in FIELDS if getattr(facts, each) is not None}}
    for field in ("context_window", "max_output_tokens", "inputs", "thinking", "prefill"):
        if (value := getattr(facts, field)) is not None:
            changes[field] = value
    if facts.price is not None:
        changes |= {"price": facts.price, "by_hour": False}
    if facts.max_output_tokens is not None:
        changes["assumed_output"] = False
    elif facts.context_window is not None and (card.assumed_output or card.max_output_tokens is None):
        changes |= {"max_output_tokens": assumed_output(facts.context_window), "assumed_output": True}
    return msgspec.structs.replace(card, **changes)


def read_facts(told: object, where: str = "models") -> dict[str, Facts]:
    """Returns what settings say of models, by full name.

    Args:
        told: A mapping from `provider/name` to a mapping from field to value; values may be text, as it was written.
        where: How a message calls the place.

    Raises:
        UsageError: something else stands there; the message names the model and the field.
    """
    found: dict[str, Facts] = {}
    for name, fields in _mapping(told, where).items():
        provider, _, rest = name.partition("/")
        if not provider.strip() or not rest.strip():
            raise UsageError(f"{where}: {name!r} is no model: write provider/name, as in 'openai/gpt-5-mini'")
        here = f"{where}.{name}"
        values = {field: read_fact(field, value, f"{here}.{field}") for field, value in _mapping(fields, here).items()}
        try:
            found[name] = Facts(**values)
        except UsageError as error:
            raise UsageError(f"{here}.{error}") from None
    return found


def read_fact(field: str, told: object, where: str) -> Any:
    """Returns the value of one field, from a value or from text.

    Raises:
        UsageError: there is no such field, or it cannot be that.
    """
    if field not in FIELDS:
        raise UsageError(f"{where}: nothing is known of a model under that name: {hint(field, FIELDS)}")
    return _checked(field, told, where)


def _mapping(told: object, where: str) -> Mapping[str, Any]:
    if not isinstance(told, Mapping):
        raise UsageError(f"{where}: names with values are wanted there, not {_shown(told)}")
    keys = cast("Mapping[object, Any]", told)
    for key in keys:
        if not isinstance(key, str):
            raise UsageError(f"{where}: {_shown(key)} is no name")
    return cast("Mapping[str, Any]", told)


def _checked(field: str, told: object, where: str) -> Any:
    try:
        return FIELDS[field](told)
    except ValueError as error:
        raise UsageError(f"{where} cannot be {_shown(told)}: {error}") from None


def _shown(told: object) -> str:
    text = repr(told)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _dollars(told: object) -> float:
    if isinstance(told, str | int | float) and not isinstance(told, bool):
        try:
            amount = float(told)
        except (ValueError, OverflowError):
            amount = math.nan
        if 0 <= amount <= _DEAREST and (amount == 0 or amount >= 1e-9):
            return amount
    raise ValueError("dollars per million tokens are wanted, from 0")


def _tokens(told: object) -> int:
    if isinstance(told, str) and told.isascii() and told.replace("_", "").isdigit() and len(told) <= 20:
        told = int(told.replace("_", ""))
    if isinstance(told, int) and not isinstance(told, bool) and 1 <= told <= _LONGEST:
        return told
    raise ValueError("a whole number of tokens from 1 is wanted")


def _truth(told: object) -> bool:
    known = {"true": True, "yes": True, "false": False, "no": False}
    value = known.get(told.lower()) if isinstance(told, str) else told
    if isinstance(value, bool):
        return value
    raise ValueError("true or false is wanted")


def _words(told: object, known: tuple[str, ...]) -> list[str]:
    if isinstance(told, str):
        told = [each.strip() for each in told.split(",") if each.strip()]
        told = [] if told == ["none"] else told
    if isinstance(told, list | tuple | set | frozenset):
        words = list(cast("Iterable[object]", told))
        if all(each in known for each in words):
            return [each for each in known if each in words]  # in their own order, each once
    raise ValueError(f"words out of {', '.join(known)} are wanted, with commas between, or none")


def _inputs(told: object) -> frozenset[str]:
    words = _words(told, _INPUTS)
    if not words:
        raise ValueError("a model takes at least text")
    return frozenset(words)


def _thinking(told: object) -> tuple[ThinkingLevel, ...]:
    return cast("tuple[ThinkingLevel, ...]", tuple(_words(told, _LEVELS)))


FIELDS: Mapping[str, Callable[[object], Any]] = {
    **dict.fromkeys(_RATES, _dollars),
    "context_window": _tokens,
    "max_output_tokens": _tokens,
    "inputs": _inputs,
    "thinking": _thinking,
    "prefill": _truth,
}
"""Everything settings can say of a model, and what reads it; a reader raises ValueError, whose text says what is
wanted."""
