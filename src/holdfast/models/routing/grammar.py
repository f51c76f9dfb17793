"""From what people write for a model to the models that are meant, in their order.

    spec    = element {"," element}
    element = (provider "/" model | name) [":" level]

The first slash of an element splits it, and all that follows is the model's, further slashes and colons included. A
name without a slash is an alias, a tier, or a model of the default provider, in this order. Aliases stand for specs
and are put in their place, also where they name one another; a tier stands for a spec, too, but for one without tiers
(source: executus B1, B3). A level of thinking behind a name holds for all that the name stands for, and what was
written further out counts. A model that comes twice counts once, where it came first.

Pure: what a tier stands for is asked of a function. Not here: whether there is such a provider; its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from holdfast.errors import UnknownModel, UsageError
from holdfast.types import LEVELS, ThinkingLevel

__all__ = ("Names", "Written", "check_aliases", "check_spec", "expand", "split_level")

_LONGEST = 16_384
"""Characters of a spec: what is longer was not written by a person."""
_DEEPEST = 32
"""Names that may stand for one another in a line."""
_LEVELS = frozenset(LEVELS)


class Written(msgspec.Struct, frozen=True, gc=False):
    """One model of a spec."""

    name: str
    """`provider/model`."""
    level: ThinkingLevel | None = None
    """How much it is to think; None leaves it to the agent."""


class Names(msgspec.Struct, frozen=True):
    """What names without a slash may stand for."""

    aliases: Mapping[str, str] = {}
    tier: Callable[[str], str | None] | None = None
    """Returns what a tier stands for, and None for a name that is none."""
    provider: str = ""
    """Whose model a name is that is neither; empty where there is no such provider."""


class _Element(msgspec.Struct, frozen=True, gc=False):
    text: str
    level: ThinkingLevel | None
    line: tuple[str, ...]
    """The aliases and tiers it came out of, the outermost first."""
    tier: str = ""
    """The tier it came out of."""


def split_level(text: str) -> tuple[str, ThinkingLevel | None]:
    """Returns a name and the level of thinking behind its last colon; what is no level belongs to the name."""
    name, colon, level = text.rpartition(":")
    if colon and name and level in _LEVELS:
        return name, level
    return text, None


def check_spec(spec: str) -> None:
    """Ends quietly when something could be meant by a spec, whatever its names stand for.

    Raises:
        UnknownModel: nothing can; the message says where and why.
    """
    for _ in _elements(spec, None, ()):
        pass


def check_aliases(aliases: Mapping[str, str]) -> None:
    """Ends quietly when each of these can be an alias and stands for something.

    Raises:
        UsageError: one cannot; the message names it.
    """
    for name, spec in aliases.items():
        if not name.strip() or name != name.strip() or set(name) & {"/", ","} or split_level(name)[1] is not None:
            raise UsageError(f"{name!r} cannot be an alias: take a name without slash, comma, blanks or level")
        try:
            check_spec(spec)
        except UnknownModel as error:
            raise UsageError(f"alias {name!r}: {error}") from None


def expand(spec: str, names: Names) -> tuple[Written, ...]:
    """Returns the models that a spec means, each once, in the order in which they are to be asked.

    Raises:
        UnknownModel: an element is none, or stands for nothing, or for itself; the message names it and where it is
            from.
    """
    found: dict[str, Written] = {}
    known: set[str] = set()  # names that were put in place already: again they add nothing
    todo = [_elements(spec, None, ())]
    while todo:  # a stack, not a recursion: a line of aliases may be long
        element = next(todo[-1], None)
        if element is None:
            todo.pop()
        elif "/" in element.text:
            found.setdefault(element.text, Written(element.text, element.level))
        elif (inner := _named(element, names, known)) is not None:
            todo.append(inner)
        elif element.text not in known:
            name = f"{_provider(element, names)}/{element.text}"
            found.setdefault(name, Written(name, element.level))
    return tuple(found.values())


def _elements(spec: str, level: ThinkingLevel | None, line: tuple[str, ...], tier: str = "") -> Iterator[_Element]:
    """Yields the elements of a spec as they are written, each with the level that was written furthest out."""
    where = f" (in {' → '.join(map(repr, line))})" if line else ""
    if len(spec) > _LONGEST:
        raise UnknownModel(f"no model goes by a name of {len(spec):,} characters{where}: write 'openai/<model>'")
    parts = spec.split(",")
    for number, part in enumerate(parts, 1):
        text, own = split_level(part.strip())
        provider, slash, model = text.partition("/")
        if text and not text.isprintable():
            raise UnknownModel(f"no model goes by the name {text!r}{where}: it holds what cannot be printed")
        if not text:
            which = f"element {number} of {spec!r} is empty" if len(parts) > 1 else f"{spec!r} names none"
            raise UnknownModel(f"{which}{where}: it takes a provider and a model, so write 'openai/<model>'")
        if slash and not (provider.strip() and model.strip()):
            bare = model.strip() or "<model>"
            raise UnknownModel(
                f"no model goes by the name {text!r}{where}: it takes a provider and a model, so write "
                f"'openai/{bare}' or 'anthropic/{bare}'"
            )
        yield _Element(text, level or own, line, tier)


def _named(element: _Element, names: Names, known: set[str]) -> Iterator[_Element] | None:
    """Returns what an alias or a tier stands for, nothing where it is in place already, and None for another name."""
    name, line = element.text, (*element.line, element.text)
    if name in element.line:
        raise UnknownModel(
            f"{name!r} stands for itself ({' → '.join(map(repr, line))}): let one of them name a provider and a model"
        )
    if len(line) > _DEEPEST:
        raise UnknownModel(f"{line[0]!r} stands for a name for a name, {_DEEPEST} times over: let one name a model")
    spec = names.aliases.get(name)
    tier = element.tier
    if spec is None and names.tier is not None and (spec := names.tier(name)) is not None:
        if tier:
            raise UnknownModel(f"tier {tier!r} names another tier, {name!r}: let it name models, or aliases of models")
        tier = name
    if spec is None:
        return None
    if name in known:
        return iter(())
    known.add(name)
    return _elements(spec, element.level, line, tier)


def _provider(element: _Element, names: Names) -> str:
    """Returns the provider of a bare name that stands for nothing else."""
    if names.provider:
        return names.provider
    name = element.text
    where = f" (in {' → '.join(map(repr, element.line))})" if element.line else ""
    given = ", ".join(map(repr, sorted(names.aliases)[:8])) or "none"
    raise UnknownModel(
        f"no model goes by the name {name!r}{where}: there is no alias of that name (there is {given}) and no tier "
        f"(model.tier.{name} is not set), so write 'openai/{name}' or 'anthropic/{name}'"
    )
