"""The built-in tools by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from holdfast.tools.binding import Tool
from holdfast.tools.builtin.bash import bash
from holdfast.tools.builtin.edit import edit
from holdfast.tools.builtin.fetch import fetch
from holdfast.tools.builtin.git import git
from holdfast.tools.builtin.question import question
from holdfast.tools.builtin.read import read
from holdfast.tools.builtin.searching.glob import glob
from holdfast.tools.builtin.searching.grep import grep
from holdfast.tools.builtin.searching.ls import ls
from holdfast.tools.builtin.write import write

__all__ = ("BUILTIN",)

_tools: tuple[Tool, ...] = (read, write, edit, grep, glob, ls, bash, fetch, git, question)

BUILTIN: Mapping[str, Tool] = MappingProxyType({tool.spec.name: tool for tool in _tools})
"""Each under the name that `builtin:name` refers to."""
