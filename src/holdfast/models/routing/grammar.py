"""From what people write for a model to the models that are meant, in their order.

    spec    = element {"," element}
    element = (provider "/" model | name) [":" [level]]

The first slash of an element splits it, and all that follows is the model's, further slashes and colons included. A
name without a slash is an alias, a tier, or a model of the default provider, in this order. Aliases stand for specs
and are put in their place, also where they name one another; a tier stands for a spec, too, but for one without tiers
(source: executus B1, B3). A level of thinking behind a name holds for all that the name stands for, and what was
written further out counts. A model that comes twice counts once, where it came first.

What stands behind the last colon is a level where it is one, letter for letter. Where it is none but close to one it
was mistyped, and is refused: without blanks around it and in small letters it is a level, or it is letters alone and
one step from a level (two from `minimal` and `medium`), where a step is a letter too many, too few or another one, or
two neighbours that changed places. All else belongs to the name, as the tags of many servers do: `llama3:8b`,
`r1:free`, `…-v1:0`. A colon at the very end says that no level comes, so that all before it is the name, also where
that ends like one: `ollama/phi3:medium:`.

Pure: what a tier stands for is asked of a function. Not here: whether there is such a provider; its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from holdfast.errors import UnknownModel, UsageError
from holdfast.types import LEVELS, ThinkingLevel

__all__ = (
    "Names",
    "Traced",
    "Written",
    "check_aliases",
    "check_cycles",
    "check_spec",
    "expand",
    "split_level",
    "trace",
)

_LONGEST = 16_384
"""Characters of a spec: what is longer was not written by a person."""
_DEEPEST = 32
"""Names that may stand for one another in a line."""
_LEVELS = frozenset(LEVELS)
_LONG = 6
"""Letters from which on a level is recognised with two mistakes in it."""


class Written(msgspec.Struct, frozen=True, gc=False):
    """One model of a spec."""

    name: str
    """`provider/model`."""
    level: ThinkingLevel | None = None
    """How much it is to think; None leaves it to the agent."""


class Traced(msgspec.Struct, frozen=True, gc=False):
    """One model of a spec, and where it is from."""

    written: Written
    via: tuple[str, ...] = ()
    """The aliases and tiers it came out of, the outermost first; none for one that the spec itself names."""


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
    if not colon or not name:
        return text, None
    if level in _LEVELS:
        return name, level
    return text if level else name, None


def _meant_level(text: str) -> str:
    """Returns the level that was mistyped behind the last colon of an element; empty where none was."""
    name, _, written = text.rpartition(":")
    said = written.strip().lower()
    if not name or not said or written in _LEVELS:
        return ""
    if said in _LEVELS:
        return said
    if not (said.isascii() and said.isalpha()) or len(said) > len("minimal") + 2:
        return ""
    steps = {level: _steps(said, level) for level in LEVELS}
    near = [level for level in LEVELS if steps[level] <= (2 if len(level) >= _LONG else 1)]
    return min(near, key=steps.__getitem__, default="")


def _steps(one: str, other: str) -> int:
    """Returns how many letters are too many, too few, others, or in their neighbour's place."""
    before: list[int] = []
    above = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        here = [row]
        for column, wanted in enumerate(other, 1):
            best = min(above[column] + 1, here[-1] + 1, above[column - 1] + (letter != wanted))
            if row > 1 and column > 1 and (letter, one[row - 2]) == (other[column - 2], wanted):
                best = min(best, before[column - 2] + 1)
            here.append(best)
        before, above = above, here
    return above[-1]


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
        UsageError: one cannot, or stands for itself; the message names it, and those that name one another in a ring.
    """
    for name, spec in aliases.items():
        odd = not name.strip() or name != name.strip() or bool(set(name) & {"/", ","})
        if odd or split_level(name) != (name, None) or _meant_level(name):
            raise UsageError(f"{name!r} cannot be an alias: take a name without slash, comma, blanks or level")
        try:
            check_spec(spec)
        except UnknownModel as error:
            raise UsageError(f"alias {name!r}: {error}") from None
    check_cycles(aliases)


def check_cycles(named: Mapping[str, str], where: Callable[[str], str] = lambda name: "") -> None:
    """Ends quietly when none of these names, aliases or tiers, stands for itself, by others or at once.

    `where` says of a name at what place it is given, to stand before the message.

    Raises:
        UsageError: one does; the message has the ring.
    """
    free: set[str] = set()  # nothing behind them leads back
    for first in named:
        line = {} if first in free else {first: iter(_inner(named, first))}
        while line:  # a walk, not a recursion: a line of names may be long
            name = next(reversed(line))
            inner = next(line[name], None)
            if inner is None:
                free.add(name)
                del line[name]
            elif inner in line:
                raise _ring([*list(line)[list(line).index(inner) :], inner], where(inner))
            elif inner in named and inner not in free:
                line[inner] = iter(_inner(named, inner))


def _inner(named: Mapping[str, str], name: str) -> list[str]:
    return [split_level(part.strip())[0] for part in named[name].split(",") if "/" not in part]


def _ring(line: Sequence[str], where: str = "") -> UsageError:
    ring = " → ".join(map(repr, line))
    place = f"{where}: " if where else ""
    return UsageError(f"{place}{line[-1]!r} stands for itself ({ring}): let one of them name a provider and a model")


def expand(spec: str, names: Names) -> tuple[Written, ...]:
    """Returns the models that a spec means, each once, in the order in which they are to be asked.

    Raises:
        UnknownModel: an element is none, or stands for nothing, or for itself; the message names it and where it is
            from.
    """
    return tuple([each.written for each in trace(spec, names)])


def trace(spec: str, names: Names) -> tuple[Traced, ...]:
    """Returns the same, each with the names it came out of.

    Raises:
        UnknownModel: as `expand` says.
    """
    found: dict[str, Traced] = {}
    known: set[str] = set()  # names that were put in place already: again they add nothing
    todo = [_elements(spec, None, ())]
    while todo:  # a stack, not a recursion: a line of aliases may be long
        element = next(todo[-1], None)
        if element is None:
            todo.pop()
        elif "/" in element.text:
            found.setdefault(element.text, Traced(Written(element.text, element.level), element.line))
        elif (inner := _named(element, names, known)) is not None:
            todo.append(inner)
        elif element.text not in known:
            name = f"{_provider(element, names)}/{element.text}"
            found.setdefault(name, Traced(Written(name, element.level), element.line))
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
        if own is None and ":" in part and (near := _meant_level(part.strip())):
            raise _mistyped(part.strip(), near, where)
        if slash and not (provider.strip() and model.strip()):
            bare = model.strip() or "<model>"
            raise UnknownModel(
                f"no model goes by the name {text!r}{where}: it takes a provider and a model, so write "
                f"'openai/{bare}' or 'anthropic/{bare}'"
            )
        yield _Element(text, level or own, line, tier)


def _mistyped(text: str, near: str, where: str) -> UnknownModel:
    name, _, written = text.rpartition(":")
    return UnknownModel(
        f"no model goes by the name {text!r}{where}: {written!r} is no level of thinking, did you mean "
        f"{f'{name}:{near}'!r}? Where it belongs to the name, put a colon behind it: {f'{text}:'!r}"
    )


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
