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
    "calculator": "knowing.calculator",
    "think": "knowing.think",
    "now": "knowing.now",
    "cite": "knowing.cite",
    "web_search": "knowing.web_search",
    "python": "running.python",
    "script": "scripting.script",
    "classify": "asking.classify",
    "extract_entities": "asking.extract",
    "summarize": "asking.summarize",
    "kv_get": "keeping.values",
    "kv_set": "keeping.values",
    "kv_list": "keeping.values",
    "kv_delete": "keeping.values",
    "file_save": "keeping.files",
    "file_get": "keeping.files",
    "file_get_text": "keeping.files",
    "file_get_metadata": "keeping.files",
    "file_list": "keeping.files",
    "file_delete": "keeping.files",
    "file_search": "keeping.files",
    "find_tools": "finding.find_tools",
}
"""Where each is: most programs use few of them, and none should wait for the others to be imported."""


class _Table(Mapping[str, Tool]):
    def __getitem__(self, name: str) -> Tool:
        plain, _, model = name.partition("?")
        module = import_module(f"holdfast.tools.builtin.{_HOME[plain]}")
        if model and not hasattr(module, f"{plain}_with"):
            raise KeyError(name)
        found: Tool = getattr(module, f"{plain}_with")(model) if model else getattr(module, plain)
        return found

    def __contains__(self, name: object) -> bool:
        return name in _HOME

    def __iter__(self) -> Iterator[str]:
        return iter(_HOME)

    def __len__(self) -> int:
        return len(_HOME)


BUILTIN: Mapping[str, Tool] = _Table()
"""Each under the name that `builtin:name` refers to."""
