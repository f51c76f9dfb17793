"""Finds a tool again by its reference: `module:qualified.name`, `builtin:name`, or `file:/whole/path.yaml#name`.

A session that is resumed in another process has only the reference; the module is imported and says what the tool
is now. A function that is not decorated counts as a tool with default options.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any, cast

from holdfast.errors import UnknownTool
from holdfast.tools.binding import Tool
from holdfast.tools.builtin.table import BUILTIN
from holdfast.tools.declaring import FunctionTool, tool

__all__ = ("find_tool", "look_also_in")


def find_tool(reference: str) -> Tool:
    """Returns the tool that a reference names.

    Raises:
        UnknownTool: it is not there; says what to do.
        UndescribableTool: there is a function, but it cannot be a tool.
    """
    module, colon, path = reference.partition(":")
    if not colon or not module or not path:
        raise UnknownTool(
            f"tool reference {reference!r} is not of the form 'module:function', 'builtin:name' or "
            "'file:/path.yaml#name'"
        )
    if module == "builtin":
        found = BUILTIN.get(path)
        if found is None:
            known = ", ".join(sorted(BUILTIN))
            raise UnknownTool(f"there is no built-in tool {path!r}; there are {known}")
        return found
    if module == "file" and "#" in path:  # no name in a module of that name has it
        from holdfast.tools.elsewhere.manifests.loading import tool_in  # noqa: PLC0415 - brings YAML

        return tool_in(reference)
    if "<locals>" in path or "<lambda>" in path:
        raise UnknownTool(
            f"tool {reference!r} was defined inside a function and cannot be found again; define it at the top level "
            "of a module, or resume in the program that made it"
        )
    return _tool_at(reference, _module(reference, module), path)


_also: list[str] = []
"""Folders in which modules are looked for that are nowhere else."""


def look_also_in(folder: str) -> None:
    """Has tools' modules found in a folder, too, where they are not installed.

    The import path stays as it is: nothing but a tool that a session names is ever taken from there.
    """
    _also.append(folder)


def _module(reference: str, name: str) -> ModuleType:
    if name == "__main__":
        return sys.modules["__main__"]
    try:
        return _imported(name)
    except ImportError as error:
        raise UnknownTool(
            f"tool {reference!r}: module {name!r} cannot be imported ({error}); install it, or run where it is on the "
            "import path"
        ) from error


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not _also or error.name != name.partition(".")[0]:
            raise
    sys.path.extend(_also)  # for what the module imports itself
    try:
        return importlib.import_module(name)
    finally:
        del sys.path[-len(_also) :]


def _tool_at(reference: str, module: ModuleType, path: str) -> Tool:
    found: Any = module
    for name in path.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, Tool):
        # A decorated function may have been kept under another name than its own.
        found = next((other for other in _tools_in(module) if other.spec.reference == reference), found)
    if isinstance(found, Tool):
        if isinstance(found, FunctionTool) and cast(FunctionTool[..., Any], found).unbound:
            raise UnknownTool(f"tool {reference!r} is a method: only a program that has its object can run it")
        return cast(Tool, found)
    if found is None or not callable(found) or isinstance(found, type):
        raise UnknownTool(_missing(reference, module, path))
    return tool(found)


def _tools_in(module: ModuleType) -> list[Tool]:
    return [value for value in vars(module).values() if isinstance(value, Tool)]


def _missing(reference: str, module: ModuleType, path: str) -> str:
    if module.__name__ == "__main__":
        return (
            f"tool {reference!r} was defined in a script that was run directly, and this is another program; run that "
            "script again, or move the tool to a module that can be imported"
        )
    return f"tool {reference!r}: module {module.__name__!r} has no function {path!r}; was it renamed or removed?"
