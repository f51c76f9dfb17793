"""What a tool call came to, as a few lines below its title.

A result says in `metadata["ui"]` how it wants to be shown; what that names and this does not know shows its first
lines. On a terminal a card has more lines than in a file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.text import Text

from holdfast.cli.hiding.masking import masked_line
from holdfast.cli.outcomes import argument, diff_of
from holdfast.cli.rendering.diffs import changed, cut, tally
from holdfast.cli.words import count, one_line, printable
from holdfast.types import ToolCall, ToolResult

__all__ = ("card",)

_FAILED = 8
"""Lines of a failure on a terminal: it says more than a success."""


def card(result: ToolResult, call: ToolCall | None, *, roomy: bool) -> list[Text]:
    """Returns what a call came to; `roomy` where there is somebody to look at it."""
    return [masked_line(row) for row in _rows(result, call, roomy=roomy)]


def _rows(result: ToolResult, call: ToolCall | None, *, roomy: bool) -> list[Text]:
    if result.error is not None and result.error.reason == "outcome_unknown":
        return [Text("outcome unknown: it was under way when its process died", "magenta")]
    if result.error is not None:
        style = "yellow" if result.error.status == "denied" else "red"
        return _last(result.content, _FAILED if roomy else 2, style)
    draw = _CARDS.get(str(result.metadata.get("ui")), _generic)
    return draw(result, call, roomy)


def _terminal(result: ToolResult, call: ToolCall | None, roomy: bool) -> list[Text]:
    del call
    said, note = result.content.rstrip().rpartition("\n")[::2]
    # That it went well is said by the mark before its name.
    content = said if note.startswith("[exit code 0") else result.content
    return _last(content, 5 if roomy else 2, "dim")


def _code(result: ToolResult, call: ToolCall | None, roomy: bool) -> list[Text]:
    facts = result.metadata
    if not isinstance(lines := facts.get("lineCount"), int):
        return _generic(result, call, roomy)
    begin = facts.get("offset")
    range_ = f" from line {begin}" if isinstance(begin, int) and begin > 1 else ""
    return [_facts(f"{count(lines, 'line')}{range_}", facts.get("language") if roomy else None)]


def _diff(result: ToolResult, call: ToolCall | None, roomy: bool) -> list[Text]:
    diff = diff_of(result)
    if not diff:  # of git: a status, a history
        return cut([Text(line.rstrip(), "dim") for line in _lines(result.content)], 8) if roomy else _first(result)
    lines = changed(diff, 24 if roomy else 12)
    return [tally(diff), *lines] if roomy else lines


def _created(result: ToolResult, call: ToolCall | None, roomy: bool) -> list[Text]:
    facts = result.metadata
    if not isinstance(size := facts.get("size"), int):
        return _generic(result, call, roomy)
    head = [_facts(f"{size:,} bytes", facts.get("language") if roomy else None)]
    content = argument(call, "content") if roomy and call is not None else ""
    lines = printable(content[:4000]).splitlines()
    return [*head, *cut([Text(f"+{line.expandtabs(4)}", "green") for line in lines], 7)]


def _tree(result: ToolResult, call: ToolCall | None, roomy: bool) -> list[Text]:
    del call
    lines = [Text(line.rstrip(), "dim") for line in _lines(result.content)]
    found = next((result.metadata[k] for k in ("entryCount", "count") if isinstance(result.metadata.get(k), int)), None)
    if found is None or not roomy:
        return cut(lines, 8 if roomy else 3)
    return [Text(count(found, "entry").replace("entrys", "entries"), "cyan"), *cut(lines, 8)] if found else lines[:1]


def _search(result: ToolResult, call: ToolCall | None, roomy: bool) -> list[Text]:
    del call
    lines = [_match(line) for line in _lines(result.content)]
    found = result.metadata.get("matchCount")
    head = [Text(count(found, "match").replace("matchs", "matches"), "cyan")] if roomy and found else []
    return [*head, *cut(lines, 8 if roomy else 3)]


def _match(line: str) -> Text:
    """A hit as `path:number:words`, with its place and its words told apart."""
    path, colon, rest = line.partition(":")
    number, second, words = rest.partition(":")
    if not (colon and second and number.isdigit()):
        return Text(line.rstrip(), "dim")
    return Text.assemble((path, "magenta"), (f":{number}: ", "dim"), words.strip())


def _fetch(result: ToolResult, call: ToolCall | None, roomy: bool) -> list[Text]:
    facts = result.metadata
    size = facts.get("size")
    named = [facts.get("status"), facts.get("contentType"), f"{size:,} bytes" if isinstance(size, int) else None]
    said = [one_line(str(each), 60) for each in named if each]
    head = [Text(" · ".join(said), "cyan")] if said else []
    final = facts.get("finalUrl")
    if final and final != facts.get("url"):
        head.append(Text(f"→ {one_line(str(final), 200)}", "dim"))
    return [*head, *_generic(result, call, roomy)]


def _generic(result: ToolResult, call: ToolCall | None, roomy: bool) -> list[Text]:
    del call
    return cut([Text(line.strip(), "dim") for line in _lines(result.content)], 3) if roomy else _first(result)


def _first(result: ToolResult) -> list[Text]:
    first = next(iter(_lines(result.content)), "")
    return [Text(first.strip(), "dim")] if first else []


def _last(content: str, most: int, style: str) -> list[Text]:
    lines = [line for line in printable(content).splitlines() if line.strip()]
    if most < 3:
        return [Text(line.strip(), style) for line in lines[-most:]]
    above = [Text(f"… {count(len(lines) - most, 'line')} above", "dim")] if len(lines) > most else []
    return [*above, *[Text(line.rstrip().expandtabs(4), style) for line in lines[-most:]]]


def _lines(content: str) -> list[str]:
    return [line.expandtabs(4) for line in printable(content).splitlines() if line.strip()]


def _facts(what: str, language: Any) -> Text:
    return Text(f"{what} · {one_line(str(language), 30)}" if language and language != "text" else what, "dim")


_CARDS: dict[str, Callable[[ToolResult, ToolCall | None, bool], list[Text]]] = {
    "terminal": _terminal,
    "code": _code,
    "diff": _diff,
    "file-created": _created,
    "file-tree": _tree,
    "search-results": _search,
    "web-fetch": _fetch,
}
