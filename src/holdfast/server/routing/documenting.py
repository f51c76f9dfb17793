"""What the fields of structs are for, in the words that stand below each of them in the source.

Python drops these words, so the source is read again, once, when somebody asks for the description of the routes.
Where there is no source, as in a folder of compiled code alone, fields go without.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, final

import msgspec
from msgspec import inspect as looking

__all__ = ("FieldWords",)

_Words = dict[str, str]


@final
class FieldWords:
    """The words for fields; a module is read when it is needed, and once."""

    def __init__(self) -> None:
        self._modules: dict[str, Mapping[str, _Words]] = {}

    def schemas(self, kinds: Iterable[Any], place: str) -> tuple[Sequence[dict[str, Any]], dict[str, Any]]:
        """Returns the JSON schemas of types, and by name those they refer to at `place`, with words for fields."""
        kinds = tuple(kinds)
        found, components = msgspec.json.schema_components(kinds, ref_template=place)
        for kind in _structs(kinds):
            whole = components.get(f"{kind.__module__}.{kind.__qualname__}") or components.get(kind.__name__, {})
            fields = whole.get("properties", {})
            for name, words in self.of(kind).items():
                if name in fields:
                    fields[name].setdefault("description", words)
        return found, components

    def of(self, kind: type[msgspec.Struct]) -> _Words:
        """Returns what each field is for, by its name on the wire, those it inherits included; of some, nothing.

        A struct that the program made tells by `__wrapped__` from which one it was.
        """
        words: _Words = {}
        for each in reversed(vars(kind).get("__wrapped__", kind).__mro__):
            module = each.__module__
            if module not in self._modules:
                self._modules[module] = _read(module)
            words |= self._modules[module].get(each.__qualname__, {})
        return {each.encode_name: words[each.name] for each in msgspec.structs.fields(kind) if words.get(each.name)}


def _structs(kinds: Iterable[Any]) -> set[type[msgspec.Struct]]:
    """Returns every struct that values of these types can hold."""
    found: set[Any] = set()
    open_: list[Any] = [looking.multi_type_info(kinds)]
    while open_:
        each = open_.pop()
        if (kind := getattr(each, "cls", None)) is not None:  # what can hold itself
            if kind in found:
                continue
            found.add(kind)
        if isinstance(each, looking.Type | looking.Field):
            open_ += [getattr(each, name) for name in each.__struct_fields__]
        elif isinstance(each, tuple):
            open_ += each
    return {kind for kind in found if isinstance(kind, type) and issubclass(kind, msgspec.Struct)}


def _read(module: str) -> Mapping[str, _Words]:
    """Returns the words for the fields of each class of a module, by the class's qualified name."""
    try:
        spec = importlib.util.find_spec(module)
        ask: Callable[[str], str | None] | None = getattr(None if spec is None else spec.loader, "get_source", None)
        source = ask(module) if ask is not None else None
        return dict(_classes(ast.parse(source).body)) if source else {}
    except (ImportError, OSError, SyntaxError, ValueError):  # not there, or not to be read, or no more what was loaded
        return {}


def _classes(body: Iterable[ast.stmt], within: str = "") -> Iterator[tuple[str, _Words]]:
    for each in body:
        if isinstance(each, ast.ClassDef):
            name = within + each.name
            yield name, dict(_fields(each.body))
            yield from _classes(each.body, f"{name}.")


def _fields(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, below in pairwise([*body, ast.Pass()]):
        match field, below:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(value=ast.Constant(value=str(words))):
                yield name, " ".join(words.split())
            case ast.AnnAssign(target=ast.Name(name)), _:
                yield name, ""  # what one above says of its own field is not said of this
            case _:
                pass
