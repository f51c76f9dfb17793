"""`holdfast models list`: providers, and the models of one or of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import click
import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.cli.models.telling import UNKNOWN, amount, data_of, length, levels, origin, provider_names, reads
from holdfast.cli.settings.defaults import settings
from holdfast.cli.terminal import open_console
from holdfast.cli.words import count
from holdfast.errors import UsageError
from holdfast.errors.hinting import hint
from holdfast.models.catalogue import Facts, LongContextPrice, ModelCard, about, listed_models, lookup, providers
from holdfast.models.providers.table import TABLE

__all__ = ("list_",)

_RIGHT = ("input", "output", "cached", "window", "answer", "models")


@click.command("list", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("provider", required=False, shell_complete=provider_names)
@click.option("--all", "every", is_flag=True, help="Old models too; without PROVIDER, the models of all providers.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def list_(provider: str | None, every: bool, output: str) -> None:
    """List the models of PROVIDER, each by the name it goes by; without one, the providers."""
    held = settings()
    console = open_console(plain=held.plain)
    if provider is None and not every:
        _providers(console, output)
        return
    facts = held.facts
    own = list(dict.fromkeys(name.partition("/")[0] for name in facts))
    chosen = list({**providers(), **dict.fromkeys(own)}) if provider is None else [_known(provider, own)]
    names = [name for each in chosen for name in (*listed_models(each, old=every), *_own(each, facts))]
    cards = [card for name in dict.fromkeys(names) if (card := lookup(name, facts=facts)) is not None]
    if output == "json":
        said = {"source": about().source, "day": about().day, "models": [data_of(card) for card in cards]}
        click.echo(msgspec.json.format(msgspec.json.encode(said)))
        return
    if cards:
        _table(console, cards)
        console.print()
    _notes(console, cards, chosen, every)


def _own(provider: str, facts: Mapping[str, Facts]) -> list[str]:
    """Returns the models of a provider that settings describe."""
    return [name for name in facts if name.startswith(f"{provider}/")]


def _known(provider: str, own: Iterable[str]) -> str:
    known = tuple(dict.fromkeys((*TABLE, *providers(), *own)))
    if provider in known:
        return provider
    raise UsageError(f"nothing is known of a provider {provider!r}: {hint(provider, known)}")


def _providers(console: Console, output: str) -> None:
    described = providers()
    names = dict.fromkeys((*TABLE, *described))  # those that can be asked come first
    rows = [(name, len(listed_models(name)) if name in described else 0, described.get(name, ())) for name in names]
    if output == "json":
        told = [{"provider": n, "models": number, "like": like, "asked": n in TABLE} for n, number, like in rows]
        said = {"source": about().source, "day": about().day, "providers": told}
        click.echo(msgspec.json.format(msgspec.json.encode(said)))
        return
    lines = [
        [Text(name), Text(str(number) if number else "-"), Text(_remark(name, like), "dim")]
        for name, number, like in rows
    ]
    _print(console, ["provider", "models", ""], lines)
    console.print(Text(f"\nprices and windows: {origin()}", "dim"), soft_wrap=True)
    console.print(Text("models of one: holdfast models list PROVIDER, of all: --all", "dim"), soft_wrap=True)


def _remark(name: str, like: Sequence[str]) -> str:
    said = f"those of {', '.join(like)} too" if like else ""
    return said if name in TABLE else f"{said} described only: to ask it, describe its server in your settings".strip()


def _table(console: Console, cards: list[ModelCard]) -> None:
    heads = ["model", "input", "output", "cached", "window", "answer", "thinks", "reads"]
    _print(console, heads, [_row(card) for card in cards])


def _row(card: ModelCard) -> list[Text]:
    price = card.price
    more = "+" if isinstance(price, LongContextPrice) else "-" if card.by_hour else ""
    rates = [UNKNOWN] * 3 if price is None else [amount(each) for each in (price.input, price.output, price.cache_read)]
    answer = ("~" if card.assumed_output else "") + length(card.max_output_tokens)
    cells = [rates[0] + more, *rates[1:], length(card.context_window), answer, levels(card), reads(card)]
    return [
        Text(card.name, "dim" if card.old else ""),
        *(Text(each, "dim" if each == UNKNOWN else "") for each in cells),
    ]


def _print(console: Console, heads: list[str], rows: list[list[Text]]) -> None:
    """Prints columns; a row is one line, on a terminal no longer than it is wide."""
    lines = [[Text(head, "dim") for head in heads], *rows]
    widths = [max(cell.cell_len for cell in column) for column in zip(*lines, strict=True)]
    for cells in lines:
        line = Text()
        for cell, width, head in zip(cells, widths, heads, strict=True):
            cell.align("right" if head in _RIGHT else "left", width)
            line.append_text(cell).append("  ")
        if console.is_terminal:
            line.truncate(console.width, overflow="ellipsis")
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ignore", crop=False)


def _notes(console: Console, cards: list[ModelCard], chosen: list[str], every: bool) -> None:
    marks = ["dollars per million tokens"]
    if any(isinstance(card.price, LongContextPrice) for card in cards):
        marks.append("+ more for long inputs or for each call, see holdfast models show")
    if any(card.by_hour for card in cards):
        marks.append("- less at other hours")
    if any(card.assumed_output for card in cards):
        marks.append("~ assumed")
    notes = [f"{count(len(cards), 'model')}, {'; '.join(marks)}; ? unknown"] if cards else []
    like = [(each, others) for each in chosen if (others := providers().get(each))]
    notes += [f"{each} has the models of {', '.join(others)} too, at their prices" for each, others in like]
    if not cards and not like:
        notes.append(f"no model of {chosen[0]} is described: it runs what somebody installed, and prices are yours")
    if hidden := 0 if every else sum(len(listed_models(each, old=True)) - len(listed_models(each)) for each in chosen):
        notes.append(f"{count(hidden, 'old model')} not shown: --all")
    for note in (*notes, f"prices and windows: {origin()}"):
        console.print(Text(note, "dim"), soft_wrap=True)
