"""Sections of a settings file: names with fields, each with its line.

    models:
      openai/mine: {input: 1.5, output: 6}
    servers:
      mine: {wire: chat, url: "https://mine.example/v1", key_variables: [MINE_KEY]}

Only plain values are read, and a bounded number of them: an alias counts as often as it is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from holdfast.errors import UsageError

if TYPE_CHECKING:
    from yaml import MappingNode, Node

__all__ = ("fields_of", "values_of")

_MOST = 10_000
"""Values that a section may hold."""
_PLAIN = tuple(f"tag:yaml.org,2002:{each}" for each in ("str", "bool", "int", "float"))


def values_of(path: Path, section: str, root: MappingNode) -> dict[str, tuple[dict[str, Any], int]]:
    """Returns each name of a section with its fields and the line it stands in.

    Raises:
        UsageError: something else than fields with plain values stands there.
    """
    left = [_MOST]
    found: dict[str, tuple[dict[str, Any], int]] = {}
    for key, node in root.value:
        name = _name(key)
        fields = _plain(path, node, left)
        if not isinstance(fields, dict):
            _refuse(path, key, f"{section}.{name} takes fields with values")
        if name in found:
            _refuse(path, key, f"{section}.{name} is set a second time: keep one of them")
        found[name] = cast("dict[str, Any]", fields), key.start_mark.line + 1
    return found


def fields_of(path: Path, section: str, root: MappingNode) -> dict[str, tuple[str, int]]:
    """Returns each field of each name of a section by its whole name, as the text of a line would say it.

    Raises:
        UsageError: as `values_of` says, or a field holds more than a list.
    """
    values = values_of(path, section, root)
    found: dict[str, tuple[str, int]] = {}
    for key, node in root.value:
        name = _name(key)
        for (field, value), (inner, _) in zip(values[name][0].items(), node.value, strict=True):
            several = cast("list[Any]", value) if isinstance(value, list) else [value]
            if any(isinstance(each, list | dict) for each in several):
                _refuse(path, inner, f"{section}.{name}.{field} takes a plain value, or a list")
            # An empty list is written as the word for it.
            text = ", ".join(map(str, several)) or "none"
            found[f"{section}.{name}.{field}"] = text, inner.start_mark.line + 1
    return found


def _plain(path: Path, node: Node, left: list[int]) -> object:
    """Returns a node as values: text, truth, and lists and mappings of such."""
    from yaml import MappingNode, ScalarNode, SequenceNode

    left[0] -= 1
    if left[0] < 0:
        _refuse(path, node, "it holds too much: settings are a few lines")
    if isinstance(node, MappingNode):
        pairs = [(_name(key), value) for key, value in node.value]
        if len({name for name, _ in pairs}) != len(pairs):
            _refuse(path, node, "a field is set a second time there: keep one of them")
        return {name: _plain(path, value, left) for name, value in pairs}
    if isinstance(node, SequenceNode):
        return [_plain(path, each, left) for each in node.value]
    if not isinstance(node, ScalarNode) or node.tag not in _PLAIN:
        _refuse(path, node, "a plain value is wanted there")
    text = str(node.value)
    return text.lower() in ("true", "yes", "on") if node.tag.endswith(":bool") else text


def _name(key: Node) -> str:
    return str(key.value) if isinstance(key.value, str) else "?"


def _refuse(path: Path, node: Node, why: str) -> Any:
    raise UsageError(f"{path}:{node.start_mark.line + 1}: {why}")
