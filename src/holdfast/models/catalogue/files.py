"""The catalogue's files, and one state of them that does not change.

A provider's file is read when a model of it is first asked for, and a card is made once. Only providers that
`about.json` names are looked for on the disk, whatever a name says.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
from msgspec import UNSET, UnsetType

from holdfast.errors import UsageError
from holdfast.models.catalogue.cards import Input, ModelCard, assumed_output
from holdfast.models.catalogue.pricing import LongContextPrice, Tier
from holdfast.types import Price, ThinkingLevel, from_dollars

__all__ = ("About", "Catalogue", "Entry", "Found")

_DATA = Path(__file__).with_name("data")
_FACTS_FILE = Path(__file__).with_name("facts.json")
_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{2}-\d{4})$")
_PLAIN = re.compile(r"[a-z0-9/-]*")
_Row = tuple[float | None, ...]
"""Dollars per million tokens: input, output, cached input, input written to the cache; the last two may be missing."""


class Provider(msgspec.Struct, frozen=True):
    """A provider the data has a file for."""

    like: tuple[str, ...] = ()
    """Providers whose models it has too, at their prices."""


class About(msgspec.Struct, frozen=True):
    """Where the prices are from."""

    source: str
    """The package and its release."""
    licence: str
    address: str
    what: str
    day: str
    """The day (YYYY-MM-DD) they were taken."""
    release: str
    """Stands in each file: files of two releases are not mixed."""
    providers: dict[str, Provider]


class _Rates(msgspec.Struct, frozen=True):
    price: _Row | None = None
    tiers: tuple[_Row, ...] = ()

    def made(self, request: float) -> Price | None:
        """Returns the price that the rates say; None when they say none."""
        if self.price is None:
            return None
        plain = _price(self.price)
        if not self.tiers and not request:
            return plain
        tiers = tuple(Tier(int(row[0] or 0), _price(row[1:])) for row in self.tiers)
        fields = (plain.input, plain.output, plain.cache_read, plain.cache_write)
        return LongContextPrice(*fields, tiers, from_dollars(request))


class _Announced(_Rates, frozen=True, kw_only=True):
    since: str
    """The day, as YYYY-MM-DD, UTC."""


class Entry(_Rates, frozen=True, kw_only=True):
    """A model of a file, with all its names."""

    names: tuple[str, ...]
    """The first is the one it goes by; # is a digit of a date."""
    request: float = 0.0
    """Dollars for each call."""
    window: int | None = None
    by_hour: bool = False
    old: bool = False
    later: tuple[_Announced, ...] = ()
    """Other rates, by the day from which they hold."""


class _File(msgspec.Struct, frozen=True):
    release: str
    models: tuple[Entry, ...]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Facts of all models of a provider whose whole name matches one of the patterns; the first rule that names a
    field decides it.
    """

    match: tuple[str, ...]
    source: str
    window: int | UnsetType | None = UNSET
    """Goes before the price data's."""
    max_output: int | None = None
    inputs: tuple[Input, ...] | None = None
    thinking: tuple[ThinkingLevel, ...] | None = None
    prefill: bool | None = None

    def fits(self, name: str) -> bool:
        """Returns whether a name matches; most patterns are left uncompiled, since their plain start says no."""
        return any(name.startswith(_start(each)) and re.fullmatch(each, name) for each in self.match)


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `facts.json` says of a provider."""

    rules: tuple[Rule, ...] = ()
    like: tuple[tuple[str, str], ...] = ()
    """Patterns whose first group is a name, dots written as dashes, under which another provider has that model."""


class Found(NamedTuple):
    """A model, and the provider whose file has it."""

    provider: str
    entry: Entry


class Catalogue:
    """One state of the data. Nothing in it changes but what is remembered, so threads may share it."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or _DATA
        self.about = _decoded(self._folder / "about.json", About)
        self._files: dict[str, dict[str, Entry]] = {}
        self._facts: dict[str, msgspec.Raw] | None = None
        self._rules: dict[str, Rules] = {}
        self._cards: dict[str, ModelCard] = {}

    def load(self) -> None:
        """Reads every file at once.

        Raises:
            UsageError: one is missing or broken, or of another release; the message names it.
        """
        for provider in self.about.providers:
            self.names(provider)

    def names(self, provider: str) -> dict[str, Entry]:
        """Returns a provider's models by all their names; empty when there is no such provider.

        Raises:
            UsageError: its file is missing or broken.
        """
        found = self._files.get(provider)
        if found is None:
            found = self._files[provider] = dict(self._read(provider)) if provider in self.about.providers else {}
        return found

    def _read(self, provider: str) -> Iterator[tuple[str, Entry]]:
        path = self._folder / f"{provider}.json"
        file = _decoded(path, _File)
        if file.release != self.about.release:
            raise UsageError(f"{path} is of {file.release}, about.json of {self.about.release}: refresh the catalogue")
        for entry in file.models:
            for name in entry.names:
                yield name, entry

    def find(self, model: str) -> Found | None:
        """Returns what a name stands for."""
        provider, _, name = model.partition("/")
        known = self.about.providers.get(provider)
        if known is None or "#" in name:
            return None
        for each in (provider, *known.like):
            names = self.names(each)
            entry = names.get(name)
            if entry is None and (date := _DATE.search(name)):
                entry = names.get(name[: date.start()] + re.sub(r"\d", "#", date[0]))
            if entry is not None:
                return Found(each, entry)
        return None

    def card(self, model: str, day: str | None) -> ModelCard | None:
        """Returns the card of a name; `day` is for prices that are announced."""
        card = self._cards.get(model)
        if card is not None:
            return card
        found = self.find(model)
        if found is None:
            return None
        card = self._made(model, found, day)
        if model.partition("/")[2] in found.entry.names and not found.entry.later:
            self._cards[model] = card  # a name of the data: there are so many and no more
        return card

    def _made(self, model: str, found: Found, day: str | None) -> ModelCard:
        entry = found.entry
        facts = self.facts(found.provider, model.partition("/")[2])
        rates: _Rates = entry
        if entry.later:
            today = day or time.strftime("%Y-%m-%d", time.gmtime())
            rates = next((each for each in reversed(entry.later) if each.since <= today), entry)
        window = facts["window"][0] if "window" in facts else entry.window
        longest, inputs, thinking, prefill = (_fact(facts, each) for each in _FACTS)
        return ModelCard(
            name=model,
            price=rates.made(entry.request),
            context_window=window,
            max_output_tokens=longest or assumed_output(window),
            inputs=None if inputs is None else frozenset(inputs),
            thinking=thinking,
            prefill=prefill,
            assumed_output=longest is None and window is not None,
            by_hour=entry.by_hour,
            old=entry.old,
        )

    def facts(self, provider: str, name: str) -> dict[str, tuple[Any, str]]:
        """Returns what the rules say of a name, each field with its source."""
        found: dict[str, tuple[Any, str]] = {}
        rules = self._rules_of(provider)
        for pattern, other in rules.like:
            if match := re.fullmatch(pattern, name):
                found = self.facts(other, match[1].replace(".", "-"))
        own: dict[str, tuple[Any, str]] = {}
        for rule in rules.rules:
            if rule.fits(name):
                for field in _FACTS:
                    if (value := getattr(rule, field)) is not None:
                        own.setdefault(field, (value, rule.source))
                if rule.window is not UNSET:
                    own.setdefault("window", (rule.window, rule.source))
        return found | own

    def _rules_of(self, provider: str) -> Rules:
        rules = self._rules.get(provider)
        if rules is None:
            facts = self._facts
            if facts is None:
                facts = self._facts = cast("dict[str, msgspec.Raw]", _decoded(_FACTS_FILE, dict[str, msgspec.Raw]))
            raw = facts.get(provider)
            rules = self._rules[provider] = Rules() if raw is None else msgspec.json.decode(raw, type=Rules)
        return rules


_FACTS = ("max_output", "inputs", "thinking", "prefill")


def _fact(facts: dict[str, tuple[Any, str]], field: str) -> Any:
    return facts[field][0] if field in facts else None


def _price(row: _Row) -> Price:
    fresh, output, read, write = (*row, None, None)[:4]
    return Price.per_million(fresh or 0, output or 0, cache_read=read, cache_write=write)


def _start(pattern: str) -> str:
    """Returns what every match begins with: the letters before the first that means something else."""
    plain = _PLAIN.match(pattern)
    start = plain[0] if plain else ""
    return start[:-1] if pattern[len(start) : len(start) + 1] in ("?", "*", "{") else start


def _decoded(path: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): refresh the catalogue, or install again") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is no file of the catalogue ({error}): refresh it, or install again") from None
