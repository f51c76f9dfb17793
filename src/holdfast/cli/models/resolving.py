"""Who is meant by a name that stands for models: each in the order in which it is asked, and where it comes from.

Not here: the facts of one model (`showing.py`), what names mean (`models/routing/grammar.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click
import msgspec
from rich.text import Text

from holdfast.cli.choosing.knowing import KeyFound, key_found, thinks
from holdfast.cli.choosing.meaning import card_of, doubts
from holdfast.cli.models.telling import data_of, rates
from holdfast.cli.settings.defaults import settings
from holdfast.cli.terminal import indented, open_console
from holdfast.cli.words import one_line, printable
from holdfast.models.catalogue import ModelCard, about
from holdfast.models.routing.grammar import Traced
from holdfast.models.routing.tiers import TIER
from holdfast.runtime.configuring.naming import ALIAS
from holdfast.types import ThinkingLevel

__all__ = ("LABEL", "key_data", "show_several")

LABEL = 10
"""Columns of a line's first word."""
_NAME = 60


class _Named(msgspec.Struct, frozen=True):
    """An alias or a tier that is part of what is meant."""

    name: str
    kind: str
    stands_for: str
    where: str
    """The file and the line."""


def show_several(spec: str, found: Sequence[Traced], output: str) -> None:
    """Prints the models that a spec means, as text or as data, with the names they come out of."""
    named = list(_named(found))
    if output == "json":
        models = [_data(each) for each in found]
        told = {"spec": spec, "names": named, "models": models, "source": about().source, "day": about().day}
        click.echo(msgspec.json.format(msgspec.json.encode(told)))
        return
    console = open_console(plain=settings().plain)
    console.print(Text(one_line(spec), "bold"), soft_wrap=True)
    for each in named:
        lead = f"{each.name}: " if each.name != spec else ""
        text = Text(f"{each.kind:<{LABEL}}", "dim").append(f"{lead}{one_line(each.stands_for, 2000)}", "not dim")
        indented(console, text, 2, hang=LABEL)
        console.print(Text(" " * (2 + LABEL) + printable(each.where), "dim"), soft_wrap=True)  # whole, to be copied
    for number, each in enumerate(found, 1):
        head = Text(f"{number:<{LABEL}}", "dim").append(one_line(each.written.name, _NAME), "bold not dim")
        if each.via and each.via != (spec,):
            head.append(f"  from {' → '.join(each.via)}", "not bold dim")
        indented(console, head, 2, hang=LABEL)
        for words, style in _lines(each):
            indented(console, Text(printable(words), style), 2 + LABEL)


def key_data(key: KeyFound) -> dict[str, Any]:
    """Returns where a key is as it goes into JSON."""
    return {"there": key.there, "source": key.source, "about": key.words}


def _named(found: Sequence[Traced]) -> Iterator[_Named]:
    values = settings().values
    for name in dict.fromkeys(name for each in found for name in each.via):
        for kind, prefix in _KINDS:
            if (held := values.get(prefix + name)) is not None:
                yield _Named(name, kind, str(held.value), held.where)
                break


_KINDS = (("alias", ALIAS), ("tier", TIER))
"""An alias goes before a tier of its name."""


def _lines(each: Traced) -> Iterator[tuple[str, str]]:
    card, key = card_of(each.written.name), key_found(each.written.name)
    price = "price unknown" if card is None or card.price is None else f"{rates(card.price)}, per million tokens"
    window = card.context_window if card is not None else None
    yield f"{price} · {'window unknown' if window is None else f'{window:,} tokens'}", ""
    yield from ((f"! {doubt}", "yellow") for doubt in doubts((each.written,)))
    yield _level(each, card), ""
    yield f"key {key.words}", "yellow" if key.there is False else ""


def _level(each: Traced, card: ModelCard | None) -> str:
    level = _wanted(each)
    if level is None:
        return "thinking unknown" if card is None or card.thinking is None else _free(card)
    return f"{thinks(card, level)}{'' if each.written.level is not None else ' (your settings)'}"


def _wanted(each: Traced) -> ThinkingLevel | None:
    return each.written.level or settings().thinking


def _free(card: ModelCard) -> str:
    return f"thinks as it likes: {', '.join(card.thinking)}" if card.thinking else "does not think"


def _data(each: Traced) -> dict[str, Any]:
    name = each.written.name
    card = card_of(name)
    return {
        **data_of(card or ModelCard(name=name)),
        "known": card is not None,
        "level": _wanted(each),
        "from": each.via,
        "key": key_data(key_found(name)),
    }
