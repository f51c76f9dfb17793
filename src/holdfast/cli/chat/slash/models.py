"""Commands that choose the model of what is said next, and how much it thinks."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from holdfast.cli.chat.slash.agents import set_agent
from holdfast.cli.chat.slash.session import when
from holdfast.cli.chat.talk import Talk
from holdfast.cli.choosing.knowing import thinks
from holdfast.cli.choosing.meaning import card_of, check, doubts, meant
from holdfast.cli.choosing.offers import offered
from holdfast.cli.models.telling import amount, length, levels
from holdfast.cli.settings.defaults import settings
from holdfast.cli.settings.naming import own_names
from holdfast.cli.words import count, one_line
from holdfast.errors import UnknownModel, UsageError
from holdfast.errors.hinting import closest, hint
from holdfast.models.catalogue import ModelCard, providers
from holdfast.models.providers.finding import PROVIDERS
from holdfast.models.routing.grammar import Written
from holdfast.types import LEVELS, ThinkingLevel

__all__ = ("DEFAULT", "set_model", "set_thinking")

DEFAULT = "default"
"""In place of a level: what the model does when nobody says how much to think."""
_FEW, _ALL = 8, 60
"""Models that are shown of each provider, and of one that was asked for."""
_OWN = 12
"""Aliases and tiers that are shown."""


async def set_model(talk: Talk, argument: str) -> None:
    """Changes the model, or says which it is and which others can be asked from here.

    A number picks from the list that was shown last; a provider with its slash lists that provider's.
    """
    if not talk.conversation.sessions.drives:
        await set_agent(talk, argument)
        return
    terms = talk.conversation.terms
    if not argument:
        _current(talk)
        for name, spec in list(own_names().items())[:_OWN]:
            about = (f"  stands for {one_line(spec, 200)}", "dim")
            talk.view.lines([Text.assemble((f"      {one_line(name, 30)}", "cyan"), about)])
        _list(talk, offered(_FEW, keep=meant(terms.model)[0].name))
        return
    if argument.endswith("/") and argument.count("/") == 1:
        _list(talk, _of(argument[:-1]))
        return
    spec = _picked(talk, argument) or argument
    found = check(spec, terms.limits)
    terms.model = spec
    talk.view.note(f"model {spec}{when(talk)}")
    for each in found:
        _show(talk, each)
        for doubt in doubts((each,)):
            talk.view.note(f"! {doubt}", "yellow")


async def set_thinking(talk: Talk, argument: str) -> None:
    """Changes how much the model thinks, or says how much it does and what it could."""
    terms = talk.conversation.terms
    if not talk.conversation.sessions.drives:
        raise UsageError("how much an agent of a server thinks is the server's to say: /model picks another agent")
    if not argument:
        for level in (*LEVELS, DEFAULT):
            mark = "●" if level == (terms.thinking or DEFAULT) else " "
            about = "as the model likes" if level == DEFAULT else _takers(terms.model, level)
            talk.view.lines([Text.assemble((f"  {mark} {level:<9}", "cyan"), (about, "dim"))])
        return
    if argument not in (*LEVELS, DEFAULT):
        meaning = hint(argument, [*LEVELS, DEFAULT], f"there are {', '.join(LEVELS)} and {DEFAULT}")
        raise UsageError(f"there is no level of thinking {one_line(argument, 40)!r}: {meaning}")
    terms.thinking = None if argument == DEFAULT else argument
    talk.view.note(f"thinking {argument}{when(talk)}")
    if terms.thinking is not None and (about := _takers(terms.model, terms.thinking)):
        talk.view.lines([Text(f"  {about}", "dim")])


def _current(talk: Talk) -> None:
    terms, figures = talk.conversation.terms, talk.conversation.figures
    talk.view.note(f"model {terms.model}")
    for each in meant(terms.model):
        _show(talk, each)
    if figures.spec == terms.model and figures.model not in ("", terms.model):
        talk.view.lines([Text(f"  the last answer is from {one_line(figures.model, 80)}", "dim")])


def _of(provider: str) -> Mapping[str, tuple[tuple[str, ...], int]]:
    """Returns the models of one provider.

    Raises:
        UnknownModel: nothing is known of it, or of its models.
    """
    known = dict.fromkeys((*providers(), *PROVIDERS, *settings().servers))
    if provider not in known:
        near = closest(provider, known)
        meant = f"did you mean '/model {near}/'?" if near else f"there are {', '.join(known)}"
        raise UnknownModel(f"nothing is known of a provider {one_line(provider, 40)!r}: {meant}")
    found = offered(_ALL, provider)
    if not found:
        raise UnknownModel(
            f"no model of {provider!r} is described: name one that your server has, as in '/model {provider}/NAME'"
        )
    return found


def _list(talk: Talk, offers: Mapping[str, tuple[tuple[str, ...], int]]) -> None:
    """Shows models to pick from, each with a number, and remembers what the numbers mean."""
    shown = [name for names, _ in offers.values() for name in names]
    talk.offered = shown
    if not shown:
        talk.view.note("no key of a provider is set here: see holdfast models list for what there is", "yellow")
        return
    width = max(map(len, shown))
    number = 0
    for provider, (names, more) in offers.items():
        for name in names:
            number += 1
            talk.view.lines([_offer(number, name, width, current=name == talk.conversation.terms.model)])
        if more:
            note = f"{more} more of {provider}"
            several = len(names) + more > _ALL and len(names) == _ALL
            how = f"holdfast models list {provider}" if several else f"/model {provider}/"
            talk.view.lines([Text(f"      {note}: {how}", "dim")])
    talk.view.lines([Text("  dollars per million tokens in and out; /model takes a number or a name", "dim")])


def _offer(number: int, name: str, width: int, *, current: bool) -> Text:
    card = card_of(name)
    cells = ("?", "?", "?", "?") if card is None else (*_rates(card), length(card.context_window), levels(card))
    mark = "●" if current else " "
    facts = f"{cells[0]:>7} {cells[1]:>7}  {cells[2]:>5}  {cells[3]}"
    return Text.assemble((f"{mark}{number:>3}  ", "cyan"), f"{name:<{width}}", (f"  {facts}", "dim"))


def _rates(card: ModelCard) -> tuple[str, str]:
    return ("?", "?") if card.price is None else (amount(card.price.input), amount(card.price.output))


def _picked(talk: Talk, argument: str) -> str:
    """Returns the model behind a number of the list; empty for what is no number."""
    if not (argument.isascii() and argument.isdigit()) or argument in own_names():
        return ""
    number = int(argument) if len(argument) < 6 else 0  # no list is longer
    if not 1 <= number <= len(talk.offered):
        least = f"1 to {len(talk.offered)}" if talk.offered else "of the list that /model shows"
        raise UsageError(f"there is no number {argument[:20]} to pick: name one {least}, or a model")
    return talk.offered[number - 1]


def _show(talk: Talk, written: Written) -> None:
    """Shows what one model costs, holds and does with the level that is wanted."""
    card = card_of(written.name)
    level = written.level or talk.conversation.terms.thinking
    parts = ["price unknown", "window unknown"]
    if card is not None:
        if card.price is not None:
            price = card.price
            parts[0] = f"{amount(price.input)} in, {amount(price.output)} out, {amount(price.cache_read)} cached"
        if card.context_window is not None:
            parts[1] = f"{count(card.context_window, 'token')}"
    if level is not None:
        parts.append(thinks(card, level))
    name = one_line(written.name, 40)
    talk.view.pair(name, " · ".join(parts), len(name) + 2)


def _takers(spec: str, level: ThinkingLevel) -> str:
    """Returns what the models of a spec make of a level; empty where they do just that."""
    said: list[str] = []
    for each in meant(spec):
        words = thinks(card_of(each.name), each.level or level)
        if each.level is not None:
            said.append(f"{each.name}: {words} (its name says {each.level})")
        elif words != f"thinks {level}":
            said.append(f"{each.name}: {words}")
    return "; ".join(said)
