"""The built-in tools by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from holdfast.tools.binding import Tool
from holdfast.tools.builtin.bash import bash
from holdfast.tools.builtin.edit import edit
from holdfast.tools.builtin.read import read
from holdfast.tools.builtin.write import write

__all__ = ("BUILTIN",)

_tools: tuple[Tool, ...] = (read, write, edit, bash)

BUILTIN: Mapping[str, Tool] = MappingProxyType({tool.spec.name: tool for tool in _tools})
"""Each under the name that `builtin:name` refers to."""
