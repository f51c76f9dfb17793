"""Files into tools: one manifest in a YAML file, or several parted by `---`.

    apiVersion: holdfast/v1
    kind: Tool
    metadata:
      name: weather
    spec:
      type: http
      endpoint: https://weather.example/v1
      auth: {secretRef: weather}

Everything that is wrong is said at once, each thing with its line and column. A tool is found again by the file and its
name: a run that is resumed elsewhere has what the file says then.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from holdfast.errors import UnknownTool, UsageError
from holdfast.sandbox.policy.reading.decoding import Decoder, Place, shown
from holdfast.sandbox.policy.reading.documents import Mark, Node, Problem, Table, parse_all
from holdfast.sandbox.policy.reading.files import contents, listed
from holdfast.tools.binding import Tool
from holdfast.tools.elsewhere.manifests.drafts import Manifest
from holdfast.tools.elsewhere.manifests.making import Making

__all__ = ("load_tools", "tool_in")

_KNOWN: Final = 16
"""Files whose tools are kept ready to be found again."""
_Stand = tuple[int, int, int]
_found: dict[str, tuple[_Stand, dict[str, Tool]]] = {}


def load_tools(path: Path | str) -> tuple[Tool, ...]:
    """Returns the tools of a file of manifests, in its order; give them to an agent.

    Raises:
        UsageError: there is no such file, or something is wrong with it; the message has a line for each thing, as
            `name:line:column: what`.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - its name, wherever links on the way lead one day
    documents, problems = parse_all(contents(path, "tool"))
    if not documents and not problems:
        problems = [Problem(Mark(1, 1), "there is no tool in here: begin it with `kind: Tool`")]
    tools: dict[str, Tool] = {}
    for document in documents:
        if (made := _tool(document, path, problems)) is None:
            continue
        if made.spec.name in tools:
            problems.append(Problem(document.mark, f"there are two tools {made.spec.name!r}: give one another name"))
        tools[made.spec.name] = made
    if problems:
        raise UsageError(listed(str(path), sorted(problems)))
    return tuple(tools.values())


def tool_in(reference: str) -> Tool:
    """Returns the tool that `file:/absolute/path.yaml#name` names, as the file says it now.

    Raises:
        UnknownTool: it is not there, or something is wrong with its file.
    """
    path, _, name = reference.removeprefix("file:").rpartition("#")
    if not os.path.isabs(path):  # noqa: PTH117 - a name, and nothing is looked at
        raise UnknownTool(f"tool reference {reference!r} does not say which file: write file:/whole/path.yaml#name")
    try:
        tools = _kept(path)
    except UsageError as error:
        raise UnknownTool(f"tool {reference!r} is not found again: {error}") from error
    if name not in tools:
        known = ", ".join(tools)
        raise UnknownTool(f"tool {reference!r} is not in its file any more, which has {known}: was it renamed?")
    return tools[name]


def _kept(path: str) -> dict[str, Tool]:
    """Returns the tools of a file by their names, read again only when it changed: an agent has many of one file."""
    try:
        at = os.stat(path)  # noqa: PTH116 - as above
        stand = (at.st_mtime_ns, at.st_size, at.st_ino)
    except (OSError, ValueError):
        stand = (0, 0, 0)
    known = _found.get(path)
    if known is not None and known[0] == stand:
        return known[1]
    tools = {each.spec.name: each for each in load_tools(path)}
    if len(_found) >= _KNOWN:
        _found.clear()
    _found[path] = stand, tools
    return tools


def _tool(document: Node, path: Path, problems: list[Problem]) -> Tool | None:
    """Returns the tool of a document; what is wrong with it is added to the problems."""
    if not isinstance(document, Table):
        problems.append(Problem(document.mark, "a manifest has keys: begin it with `kind: Tool`"))
        return None
    decoder = Decoder()
    making = Making(decoder.struct(Manifest, document, ()), path)
    made = making.tool()
    if ("kind",) in decoder.broken:  # of another kind all else may be right
        problems += [each for each in decoder.problems if each.text.startswith("kind ")]
        return None
    problems += decoder.problems
    if ("spec", "type") in decoder.broken:  # all else depends on it
        return None
    for place, text in making.faults:
        if any(broken[: len(place)] == place[: len(broken)] for broken in decoder.broken):
            continue  # what is missing because it could not be read is no news
        problems.append(Problem(_mark(decoder, place, document), f"{shown(place)}: {text}"))
    return None if decoder.problems else made


def _mark(decoder: Decoder, place: Place, document: Table) -> Mark:
    while place and place not in decoder.marks:
        place = place[:-1]
    return decoder.marks.get(place, document.mark)
