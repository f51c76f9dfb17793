"""From what a person writes to a tool, or to an agent: built-in names, `module:name` of an installed module or one in
this folder, and manifests: `file.yaml`, or `file.yaml#name`.

Whoever names a module has it run: that is how Python finds what is in it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from holdfast.cli.tools.importing import imported, importing
from holdfast.cli.words import count
from holdfast.errors import UnknownTool, UsageError
from holdfast.errors.hinting import hint
from holdfast.runtime.bound import BoundAgent
from holdfast.tools.binding import Tool
from holdfast.tools.builtin.table import BUILTIN
from holdfast.tools.declaring import FunctionTool
from holdfast.tools.resolving import find_tool

if TYPE_CHECKING:
    import click

    from holdfast.types import AgentSpec

__all__ = (
    "CODER",
    "agent_names",
    "agent_of",
    "bound_agent_of",
    "is_address",
    "tool_names",
    "tool_of",
    "tools_of",
    "with_scheme",
)

CODER = "coder"
"""The agent behind `holdfast run` and `holdfast chat`."""
_ADDRESS = re.compile(r"https?://.*|//.*|(?:\[[0-9A-Fa-f:.]+\]|[\w.-]+):\d+(?:/.*)?|(?:\d+\.){3}\d+(?:/.*)?", re.ASCII)
"""What no module and no file is called."""


def tool_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Returns the built-in tools that begin like that."""
    del context, parameter
    return [name for name in BUILTIN if name.startswith(incomplete)]


def agent_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Returns what can stand first where an agent or a tool may: the agent that is known, and built-in tools."""
    return [name for name in (CODER, *tool_names(context, parameter, incomplete)) if name.startswith(incomplete)]


def tool_of(reference: str) -> Tool:
    """Returns the tool that a person means.

    Raises:
        UnknownTool: there is none; says what to write.
        UndescribableTool: there is a function, but it cannot be a tool.
        UsageError: something is wrong with the file or the module; says where.
    """
    if is_address(reference):
        url = with_scheme(reference)
        raise UnknownTool(
            f"{reference!r} is an address, and no tool: name a file or a module that declares one which stands there, "
            f"or try what answers there: holdfast tools test {url} FIXTURES --name NAME"
        )
    if (found := _declared(reference)) is not None:
        if len(found) == 1:
            return found[0]
        path = reference.rpartition("#")[0] or reference
        names = [each.spec.name for each in found]
        raise UnknownTool(f"{path!r} has {count(len(names), 'tool')}: name one of them, as in {path}#{names[0]}")
    if ":" not in reference:
        if reference.partition("?")[0] not in BUILTIN:
            own = "one of yours is named module:function"
            raise UnknownTool(f"there is no built-in tool {reference!r}: {hint(reference, BUILTIN, own)}")
        reference = f"builtin:{reference}"
    module, _, path = reference.partition(":")
    with importing():
        if module and path and module not in ("builtin", "__main__"):
            imported(reference, module)
        return find_tool(reference)


def tools_of(reference: str) -> list[Tool]:
    """Returns the tools that a person means: one, or with nothing behind the colon all that a module has, or all of a
    file of manifests.

    Raises:
        UnknownTool: there is none; says what to write.
        UsageError: something is wrong with the file or the module; says where.
    """
    if (declared := _declared(reference)) is not None:
        return declared
    module, colon, name = reference.partition(":")
    if not colon or name or module == "builtin" or is_address(reference):
        return [tool_of(reference)] if name or not colon else [BUILTIN[each] for each in BUILTIN]
    with importing():
        found = [each for each in vars(imported(reference, module)).values() if _is_ready(each)]
    if not found:
        raise UnknownTool(f"module {module!r} has no tools: decorate its functions with @tool, or name one of them")
    return list({each.spec.name: each for each in found}.values())


def is_address(target: str) -> bool:
    """Returns whether a person wrote the address of a service, with http:// before it or without."""
    return _ADDRESS.fullmatch(target) is not None


def with_scheme(address: str) -> str:
    """Returns an address as it is written whole."""
    return address if "://" in address else f"http://{address.removeprefix('//')}"


def _declared(reference: str) -> list[Tool] | None:
    """Returns the tools of a file of manifests, or the one that is named; None where no such file is meant."""
    path, sign, name = reference.removeprefix("file:").partition("#")
    if not path.endswith((".yaml", ".yml", ".json")):
        return None
    from holdfast.tools.elsewhere.manifests.loading import load_tools

    found = list(load_tools(path))
    if not sign:
        return found
    if not (named := [each for each in found if each.spec.name == name]):
        raise UnknownTool(f"{path!r} has no tool {name!r}: {hint(name, [each.spec.name for each in found])}")
    return named


def agent_of(reference: str) -> AgentSpec:
    """Returns what the agent is that a person means: `coder`, or `module:name`.

    Raises:
        UsageError: there is none; says what to write.
    """
    if reference == CODER:
        from holdfast.cli.run import coder
        from holdfast.cli.settings.defaults import settings
        from holdfast.types import Limits

        return coder(settings().model, Limits(), asks=True).spec
    return bound_agent_of(reference).spec


def bound_agent_of(reference: str) -> BoundAgent:
    """Returns the agent that `module:name` names.

    Raises:
        UsageError: there is none; says what to write.
    """
    module, colon, name = reference.partition(":")
    if not (module and colon and name):
        raise UsageError(
            f"{reference!r} is no agent: write {CODER}, module:agent, or --tools with the tools of one that is not "
            "written yet"
        )
    with importing():
        found: object = imported(reference, module)
        for part in name.split("."):
            found = getattr(found, part, None)
    if not isinstance(found, BoundAgent):
        raise UsageError(f"module {module!r} has no agent {name!r}: name what an Agent(...) is bound to there")
    return cast("BoundAgent", found)


def _is_ready(value: object) -> bool:
    return isinstance(value, Tool) and not (isinstance(value, FunctionTool) and value.unbound)
