"""The built-in tools by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Final

from holdfast.tools.binding import Tool

__all__ = ("BUILTIN",)

_HOME: Final = {
    "read": "read",
    "write": "write",
    "edit": "edit",
    "grep": "searching.grep",
    "glob": "searching.glob",
    "ls": "searching.ls",
    "bash": "bash",
    "process": "process",
    "fetch": "fetch",
    "git": "git",
    "question": "question",
}
"""Where each is: most programs use few of them, and none should wait for the others to be imported."""


class _Table(Mapping[str, Tool]):
    def __getitem__(self, name: str) -> Tool:
        found: Tool = getattr(import_module(f"holdfast.tools.builtin.{_HOME[name]}"), name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in _HOME

    def __iter__(self) -> Iterator[str]:
        return iter(_HOME)

    def __len__(self) -> int:
        return len(_HOME)


BUILTIN: Mapping[str, Tool] = _Table()
"""Each under the name that `builtin:name` refers to."""
