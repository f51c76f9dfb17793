"""The tool that finds other tools by what they do.

Each tool it finds is one line of JSON, since what a result names is what later requests carry (`context/showing.py`):
they are read from there, in this process or after a crash in another. Whether a tool may be called is not decided here.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from holdfast.tools.binding import ToolContext
from holdfast.tools.declaring import tool
from holdfast.tools.finding.index import FIND, index_of
from holdfast.types import Governance, ToolResult, ToolSpec

__all__ = ("MOST", "find_tools")

MOST: Final = 20
"""Tools that one search gives at most."""
_ROOM = 40_000
"""Characters of a result, so that none is cut off in the middle of a tool."""
_DESCRIPTION = 4_000
"""Characters of the description of a tool whose schema has no room at all."""
_NAMES = 2_000
"""Characters of names that are told where nothing fits."""
_encode = msgspec.json.encode


@tool(
    effect="none",
    tier="direct",
    reference=f"builtin:{FIND}",
    governance=Governance(risk="low", operations=("read",)),
)
async def find_tools(
    context: ToolContext, query: str, limit: Annotated[int, msgspec.Meta(ge=1, le=MOST)] = 5
) -> ToolResult:
    """Find tools by what they do. There are more tools than you are shown; search here before you say that something
    cannot be done. Returns the tools that fit best, one a line, each with its name, description and parameters. They
    can be called from your next step on.

    Args:
        context: Where the call runs.
        query: What the tool should do, in a few words, or its name or a part of it.
        limit: The most tools to return.
    """
    index = index_of(context.tools)
    lines: list[str] = []
    left = _ROOM
    for place in index.best(query, limit):
        line = _line(index.specs[place], left if lines else _ROOM)
        if line is None:
            break
        lines.append(line)
        left -= len(line) + 1
    metadata: dict[str, Any] = {"ui": "search-results", "pattern": query, "path": "tools", "matchCount": len(lines)}
    if not lines:
        return ToolResult(_nothing(query, index.specs), metadata=metadata)
    return ToolResult("\n".join(lines), metadata=metadata)


def _line(spec: ToolSpec, room: int) -> str | None:
    """Returns a tool as the model reads it; None where there is no room for it, unless it has more than any has."""
    line = _encode({"name": spec.name, "description": spec.description, "parameters": spec.parameters}).decode()
    if len(line) <= room:
        return line
    if room < _ROOM:
        return None
    return _encode({"name": spec.name, "description": spec.description[:_DESCRIPTION]}).decode()


def _nothing(query: str, specs: tuple[ToolSpec, ...]) -> str:
    others = [spec.name for spec in specs if spec.name != FIND]
    if not others:
        return "There is no tool to be found: you have no other than this one."
    names, some = ", ".join(others), f"All {len(others)} tools" if len(others) > 1 else "The one tool there is"
    if len(names) > _NAMES:
        names, some = f"{names[:_NAMES].rpartition(', ')[0]}, and more", f"Some of the {len(others)} tools"
    asked = f"No tool fits {query[:200]!r}." if query.strip() else "Say what the tool should do."
    return f"{asked} Try other words, in the language of the tools' names. {some}: {names}."
