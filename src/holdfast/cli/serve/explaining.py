"""What is wrong in the file that `--config` names, said with the line, the path of the field, and what would do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from holdfast.errors import UsageError
from holdfast.sandbox.policy.reading.documents import Mark

__all__ = ("explained", "plain")

_PLACE = re.compile(r"(.*) - at `\$(.*?)`(?: in .*)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


def plain(node: Any) -> Any:
    """Returns a document as values; what a scalar is, the field that it is for decides."""
    if hasattr(node, "entries"):
        return {key: plain(value) for key, (_, value) in node.entries.items()}
    if hasattr(node, "items"):
        return [plain(each) for each in node.items]
    return None if node.plain and node.text in ("", "~", "null") else node.text


def explained(file: Path, root: Any, kind: type, error: Exception) -> UsageError:
    """Returns what to say of an error that came of a document's being converted to a struct."""
    found = _PLACE.fullmatch(str(error))
    what, where = (found[1], found[2]) if found else (str(error), "")
    if not where and not isinstance(error, msgspec.ValidationError):
        return UsageError(f"{file}: {what}")
    mark, node, told, steps = root.mark, root, kind, list[str]()
    for name, number in _STEP.findall(where):
        step = _stepped(node, told, name, number)
        if step is None:
            break
        label, mark, node, told = step
        steps.append(label)
    told = _bare(told, hasattr(node, "entries"))
    if (unknown := _UNKNOWN.fullmatch(what)) is not None and _is_struct(told):
        steps.append(f".{unknown[1]}")
        mark = node.entries[unknown[1]][0] if unknown[1] in getattr(node, "entries", {}) else mark
        known = [each.encode_name for each in msgspec.structs.fields(told)]
        near = get_close_matches(unknown[1], known, 1)
        hint = f", did you mean `{near[0]}`?" if near else ""
        what = f"unknown field `{unknown[1]}`{hint} (known: {', '.join(known)})"
    elif get_origin(told) is Literal:
        what = f"{what} (known: {', '.join(map(str, get_args(told)))})"
    place = "".join(steps).lstrip(".")
    return UsageError(f"{file}:{mark.line}:{mark.column}: {place or 'the file'}: {what}")


def _stepped(node: Any, told: Any, name: str, number: str) -> tuple[str, Mark, Any, Any] | None:
    """Returns how a step is written, where it leads, and what is expected there."""
    told = _bare(told, hasattr(node, "entries"))
    if name and name in getattr(node, "entries", {}):
        mark, below = node.entries[name]
        types = {each.encode_name: each.type for each in msgspec.structs.fields(told)} if _is_struct(told) else {}
        return f".{name}", mark, below, types.get(name)
    if number.isdigit() and int(number) < len(getattr(node, "items", ())) and not hasattr(node, "entries"):
        below = node.items[int(number)]
        return f"[{number}]", below.mark, below, (get_args(told) or (None,))[0]
    if number == "..." and get_origin(told) is dict:
        for key, (mark, below) in node.entries.items():  # which of them it is, the error does not say
            value = get_args(told)[1]
            try:
                msgspec.convert(plain(below), value, strict=False)
            except (msgspec.ValidationError, UsageError):
                return f".{key}", mark, below, value
    return None


def _bare(told: Any, table: bool) -> Any:
    """Returns a type without what is around it; of several, the one for a table, or for what is none."""
    if get_origin(told) is Annotated:
        return _bare(get_args(told)[0], table)
    if get_origin(told) in (Union, UnionType):
        fits = [each for each in _members(told) if table == (_is_struct(each) or get_origin(each) is dict)]
        return fits[0] if fits else told
    return told


def _members(told: Any) -> Iterator[Any]:
    for each in get_args(told):
        bare = get_args(each)[0] if get_origin(each) is Annotated else each
        if bare is not NoneType:
            yield bare


def _is_struct(told: Any) -> bool:
    return isinstance(told, type) and issubclass(told, msgspec.Struct)
