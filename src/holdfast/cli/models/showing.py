"""`holdfast models show`: all that is known of one model, and from where; who is meant by what stands for several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

import click
import msgspec
from rich.text import Text

from holdfast.cli.choosing.knowing import KeyFound, key_found, thinks
from holdfast.cli.choosing.meaning import traced
from holdfast.cli.models.resolving import LABEL, key_data, show_several
from holdfast.cli.models.telling import amount, data_of, model_names, origin, rates, reads
from holdfast.cli.settings.defaults import settings
from holdfast.cli.settings.naming import model_specs
from holdfast.cli.terminal import indented, open_console
from holdfast.cli.words import printable
from holdfast.errors import UnknownModel
from holdfast.models.catalogue import (
    FIELDS,
    LongContextPrice,
    ModelCard,
    about,
    known_models,
    lookup,
    other_names,
    providers,
    sources,
)
from holdfast.models.routing.grammar import check_spec, split_level
from holdfast.runtime.settings import MODELS

__all__ = ("show",)

_NAMES = 8
"""Other names that are shown."""
_SOURCED = {
    "context_window": "window",
    "max_output_tokens": "answer",
    "inputs": "reads",
    "thinking": "thinks",
    "prefill": "prefill",
    "cache_read": "price of cached input",
    "cache_write": "price of input into the cache",
    "input": "price of input",
    "output": "price of output",
}


def _completed(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Returns what can be named for a run, and models that are only described."""
    return list(
        dict.fromkeys((*model_specs(context, parameter, incomplete), *model_names(context, parameter, incomplete)))
    )


@click.command("show", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("name", shell_complete=_completed)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def show(name: str, output: str) -> None:
    """Show what is known of the model NAME (provider/model), and where that is from.

    NAME may be whatever a run takes for a model: an alias, a tier, several with commas, a level of thinking behind a
    colon. Then the models are shown that it stands for, in the order in which they are asked, with the names they come
    out of, what they cost, and whether their key is there. Nobody is asked anything.
    """
    held = settings()
    check_spec(name)
    model, level = split_level(name.strip())
    if "," in model or "/" not in model:
        first, *others = traced(name)
        if others or first.via or "," in name:
            show_several(name, (first, *others), output)
            return
        model, level = first.written.name, first.written.level
    card = lookup(model, facts=held.facts)
    if card is None:
        raise UnknownModel(_unknown(model))
    key = key_found(model)
    given = {field: held.values[f"{MODELS}{model}.{field}"].where for field in FIELDS if field in card.given}
    if output == "json":
        told = {**data_of(card), "sources": {**sources(model), **given}, "other_names": other_names(model)}
        said = {**told, "level": level, "key": key_data(key), "source": about().source, "day": about().day}
        click.echo(msgspec.json.format(msgspec.json.encode(said)))
        return
    console = open_console(plain=held.plain)
    console.print(Text(card.name, "bold").append("  old: its provider ends it" if card.old else "", "yellow"))
    asked = [] if level is None else [("asked", thinks(card, level))]
    for label, words in (*asked, *_facts(card, given, key)):
        text = Text(f"{label:<{LABEL}}", "dim").append(words, "dim" if words.startswith("unknown") else "not dim")
        indented(console, text, 2, hang=LABEL)


def _unknown(name: str) -> str:
    provider = name.partition("/")[0]
    if provider not in providers():
        near = [f"{each}/…" for each in get_close_matches(provider, providers(), n=1)]
        near = near or get_close_matches(f"openai/{name}", known_models("openai"), n=1, cutoff=0.8)
    else:
        near = get_close_matches(name, known_models(provider), n=3, cutoff=0.7)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "holdfast models list shows what is described."
    return f"nothing is known of a model {name!r}: {hint} A model can be asked all the same; its price is unknown then"


def _facts(card: ModelCard, given: Mapping[str, str], key: KeyFound) -> Iterator[tuple[str, str]]:
    yield from zip(("price", *[""] * 9), _prices(card), strict=False)
    yield "key", key.words
    yield "window", _tokens(card.context_window)
    assumed = ", assumed: nobody says how long its answers get" if card.assumed_output else ""
    yield "answer", _tokens(card.max_output_tokens) + assumed
    yield "reads", "unknown" if card.inputs is None else reads(card)
    yield "thinks", "unknown" if card.thinking is None else ", ".join(card.thinking) or "no"
    goes_on = {True: "goes on from an answer that was begun", False: "starts an answer anew", None: "unknown"}
    yield "prefill", goes_on[card.prefill]
    names = other_names(card.name)
    if names:
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        yield "also", ", ".join(names[:_NAMES]) + more
    yield "from", f"prices and windows: {origin()}"
    for field, source in {**sources(card.name), **given}.items():
        yield "", f"{_SOURCED.get(field, field)}: {printable(source)}"


def _tokens(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,} tokens"


def _prices(card: ModelCard) -> Iterator[str]:
    price = card.price
    if price is None:
        yield "unknown; a limit in dollars cannot be kept with it"
        return
    yield f"{rates(price)}, per million tokens"
    if isinstance(price, LongContextPrice):
        for tier in price.tiers:
            yield f"over {tier.above:,} tokens of input: {rates(tier.price)}"
        if price.request:
            yield f"and {amount(price.request)} for each call"
    if card.by_hour:
        yield "in the dearest hours; less at others"
