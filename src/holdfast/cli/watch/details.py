"""Everything one event says, for the pane below the timeline: arguments, result, diff in colour, usage and cost.

What models, tools and files say is only ever text here: control characters are shown, and markup is not read.
"""

from __future__ import annotations

import json
from typing import Any, cast

import msgspec
from rich.console import RenderableType
from rich.text import Text

from holdfast.cli.hiding.masking import masked, masked_json
from holdfast.cli.outcomes import argument, diff_of, mark_of, shown_arguments, undone
from holdfast.cli.rendering.answer import sources_of, step_line
from holdfast.cli.rendering.diffs import between, cut, diff_line, tally
from holdfast.cli.rendering.markdown import Words
from holdfast.cli.watch.rows import Row
from holdfast.cli.words import clock_time, count, money, one_line, printable, seconds
from holdfast.engine.events import (
    InputReceived,
    ModelFinished,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
    ToolWaiting,
)
from holdfast.engine.turns import own
from holdfast.types import Event, ProviderStep, Thinking, ToolCall, ToolResult, Unknown, Usage
from holdfast.types import Text as Said

__all__ = ("details_of", "diff_lines", "plain_lines", "prose")

_LINES = 2000
"""Lines of one text that are shown; `runs show -o jsonl` has all."""
_LETTERS = 400_000
_MARKDOWN = 40_000
"""Letters up to which an answer is laid out as Markdown."""


def details_of(row: Row, *, theme: str = "dark") -> list[RenderableType]:
    """Returns what a row's event says, a block each; `theme` is the ground it is drawn on."""
    event = row.event
    if event is None:
        return [Text(row.words, "dim")]
    who = f"  by {one_line(event.actor, 40)}" if event.actor else ""
    head = Text(f"{clock_time(event.at)}  epoch {event.epoch}{who}", "dim")
    match event.data:
        case InputReceived() as data:
            attached = [part for part in data.message.parts if not isinstance(part, Said)]
            files = [Text(f"+ {part.media_type}  {one_line(part.name, 80)}", "magenta") for part in attached]
            return [head, Text(), *plain_lines(data.message.text), *files]
        case ModelFinished() as data:
            return [*_model(head, data, theme)]
        case ToolStarted() as data:
            undo = "files can be put back" if data.snapshot else data.unsaved
            facts = [f"outside {data.effect.outside}", "changes files" if data.effect.workspace else "", undo]
            return [_join(head, *facts), *_call(row.call, data.arguments)]
        case ToolFinished() as data:
            return [*_finished(head, data, row.call)]
        case ToolWaiting() as data:
            asked = [] if data.wait.digest else plain_lines(data.wait.prompt)  # else the call itself, which is below
            return [
                _join(head, f"waits for {data.wait.kind}", data.wait.subject),
                *asked,
                *_call(row.call, data.wait.arguments if own(data.wait) else ""),
            ]
        case _:
            return [*_of_run(head, event)]


def _of_run(head: Text, event: Event) -> list[Text]:
    match event.data:
        case RunStarted() as data:
            setup = data.setup
            limits = json.loads(msgspec.json.encode(setup.limits))
            bounds = ", ".join(f"{name} {value}" for name, value in limits.items() if value is not None)
            facts = [("model", setup.model), ("mode", setup.mode), ("folder", setup.workspace), ("limits", bounds)]
            return [head, Text(), *[_fact(name, value) for name, value in facts if value]]
        case RunFinished() as data:
            cost = money(data.cost, most=data.usage.estimated)
            facts = [("ended", data.status), ("steps", str(data.steps)), ("cost", cost)]
            denied = [_fact("denied", count(data.denied, "call"))] if data.denied else []
            used = Text.assemble(("tokens  ", "dim"), _usage(data.usage))
            reason = plain_lines(data.reason, "yellow") if data.reason else []
            return [head, Text(), *[_fact(name, value) for name, value in facts], used, *denied, *reason]
        case _:
            return [head, Text(), *_cut(_data(event))]


def _fact(name: str, value: str) -> Text:
    return Text.assemble((f"{name:<8}", "dim"), one_line(masked(value)))


def plain_lines(text: str, style: str = "") -> list[Text]:
    """Returns text as lines that cannot act on anything, masked, and cut where it is very long."""
    return _cut(masked(text), style)


def _cut(text: str, style: str = "") -> list[Text]:
    lines = printable(text[:_LETTERS]).splitlines()
    shown = [Text(line.expandtabs(4), style) for line in lines[:_LINES]]
    return [*shown, _more(len(lines))] if len(lines) > _LINES or len(text) > _LETTERS else shown


def prose(text: str, theme: str) -> list[RenderableType]:
    """Returns what a model says: as Markdown, or as it is where laying that out would take long."""
    return [Words(printable(text), theme=theme)] if len(text) <= _MARKDOWN else [*plain_lines(text)]


def diff_lines(diff: str) -> list[Text]:
    """Returns a unified diff in colour, masked, and cut where it is very long."""
    diff = masked(diff)
    lines = diff[:_LETTERS].removesuffix("\n").split("\n")
    shown = [diff_line(line) for line in lines[:_LINES]]
    return [*shown, _more(len(lines))] if len(lines) > _LINES or len(diff) > _LETTERS else shown


def _more(lines: int) -> Text:
    return Text(f"… and more: {count(_LINES, 'line')} of {lines:,} or more are shown", "dim italic")


def _join(head: Text, *facts: str) -> Text:
    return Text("  ·  ", "dim").join([head, *(Text(one_line(fact, 120), "dim") for fact in facts if fact)])


def _model(head: Text, data: ModelFinished, theme: str) -> list[RenderableType]:
    message = data.message
    stop = "" if message.stop in ("stop", "tool_calls") else f"stopped: {message.stop}"
    cost = money(data.cost, most=message.usage.estimated)
    blocks: list[RenderableType] = [_join(head, message.model, seconds(data.duration / 1e6), cost, stop)]
    blocks.append(_usage(message.usage))
    for part in message.parts:
        blocks.append(Text())
        if isinstance(part, Said):
            blocks += prose(masked(part.text), theme)
        elif isinstance(part, Thinking):
            blocks += plain_lines(part.text or "(hidden reasoning)", "dim italic")
        elif isinstance(part, ProviderStep):
            blocks.append(step_line(part))
        else:
            blocks += _call(part)
    sources = [f"{title}  {source}" if title else source for source, title in sources_of(message)]
    return [*blocks, *([Text()] if sources else []), *(_fact("source", each) for each in sources)]


def _usage(usage: Usage) -> Text:
    line = Text.assemble((f"{usage.input_tokens:,}", "cyan"), " in", (f"  {usage.output_tokens:,}", "cyan"), " out")
    named = (("cache read", usage.cache_read_tokens), ("cache written", usage.cache_write_tokens))
    for name, amount in (*named, ("reasoning", usage.reasoning_tokens)):
        if amount:
            line.append(f"  {amount:,}", "cyan").append(f" {name}")
    return line.append("  at most: nobody said what it was", "dim") if usage.estimated else line


def _call(call: ToolCall | None, made: str = "") -> list[Text]:
    """Returns a call's name and arguments, as a person reads them; `made` are those it is made with, where they are not
    the ones that were written.
    """
    if call is None:
        return [Text("the call is not in this log", "dim")]
    if made:
        call = msgspec.structs.replace(call, arguments=made)
    fields = shown_arguments(call)
    head = Text(one_line(call.name, 80), "bold")
    if fields is None:
        return [head, Text("arguments that are no JSON object:", "yellow"), *plain_lines(call.arguments)]
    body = _known(call, fields)
    return [head, *body]


def _known(call: ToolCall, fields: dict[str, Any]) -> list[Text]:
    rest = dict(fields)
    lines: list[Text] = []
    if command := argument(call, "command"):
        rest.pop("command")
        first, *more = plain_lines(command) or [Text()]
        lines += [Text.assemble(("$ ", "bold green"), first), *more]
    if path := argument(call, "path"):
        rest.pop("path")
        lines.append(Text(one_line(path), "cyan"))
    if isinstance(fields.get("edits"), list):
        lines += _edits(rest.pop("edits"))
    if content := argument(call, "content"):
        rest.pop("content")
        lines += [Text(f"+{line.plain}", "green") for line in plain_lines(content)]
    if rest:
        lines += plain_lines(json.dumps(rest, indent=2, ensure_ascii=False), "dim" if lines else "")
    return lines


def _edits(edits: list[Any]) -> list[Text]:
    lines: list[Text] = []
    for edit in edits:
        if isinstance(edit, dict):
            old, new = (str(cast("dict[str, Any]", edit).get(key, "")) for key in ("oldText", "newText"))
            lines += [Text("⋯", "dim"), *cut(between(old, new), _LINES)]
    return lines


def _finished(head: Text, data: ToolFinished, call: ToolCall | None) -> list[RenderableType]:
    result = data.result
    sign, style = mark_of(result)
    name = one_line(call.name, 80) if call is not None else "?"
    size = f"{len(result.content):,} characters"
    blocks: list[RenderableType] = [_join(head, seconds(data.duration / 1e6) + undone(data), size)]
    title = Text.assemble((f"{sign} ", f"bold {style}"), (name, "bold"), "  ", *_error(result))
    blocks.append(title)
    if diff := diff_of(result):
        path = argument(call, "path") if call is not None else ""
        title.append(f"{one_line(path)}  ", "cyan").append_text(tally(diff))
        lines = diff_lines(diff)
        return [*blocks, *(lines[2:] if path and diff.startswith("--- ") else lines)]
    blocks += [Text.assemble("  ", line) for line in (_call(call)[1:7] if call is not None else [])]
    blocks.append(Text())
    blocks += plain_lines(result.content, "" if result.error is None else style)
    if result.stored:
        blocks.append(Text("all of it is kept in the store: the model can read on", "dim italic"))
    return blocks


def _error(result: ToolResult) -> list[tuple[str, str]]:
    if result.error is None:
        return []
    again = "  may be tried again" if result.error.retryable else ""
    words = f"{one_line(result.error.code, 60)} · {one_line(result.error.reason, 80)}{again}"
    return [(words, mark_of(result)[1])]


def _data(event: Event) -> str:
    if isinstance(event.data, Unknown):
        return masked(msgspec.json.format(bytes(event.data.raw), indent=2).decode("utf-8", "replace"))
    return masked_json(msgspec.to_builtins(event.data))
