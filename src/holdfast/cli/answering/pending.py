"""What is asked in the sessions of a store, drawn: a line for each, or all of one."""

from __future__ import annotations

import time
from typing import cast

import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.cli.asking.card import approval_card
from holdfast.cli.asking.picking import hint, lapse, print_question
from holdfast.cli.hiding.masking import masked
from holdfast.cli.outcomes import about, arguments_of, shown_arguments
from holdfast.cli.settings.defaults import settings
from holdfast.cli.terminal import indented
from holdfast.cli.words import age, one_line, printable, seconds
from holdfast.runtime.history.waiting import Waiting
from holdfast.types import ToolCall, Wait

__all__ = ("as_shown", "named", "print_list", "print_one")

_SHOWN = 8
"""Digits that are shown; more where those would mean several."""


def named(each: Waiting) -> str:
    """Returns how something that is asked is named where it could be taken for another."""
    return f"{each.id[:_SHOWN]} in {each.session}"


def as_shown(found: Waiting) -> Waiting:
    """Returns what is asked with what looks like a secret masked, also in the arguments of its call. An answer under
    review is what the run says, and stays.
    """
    call = found.call
    if call is not None:
        fields = shown_arguments(call)
        shown = masked(call.arguments) if fields is None else msgspec.json.encode(fields).decode()
        call = msgspec.structs.replace(call, arguments=call.arguments if fields == arguments_of(call) else shown)
    prompt = found.prompt if found.kind == "review" else masked(found.prompt)
    return msgspec.structs.replace(found, prompt=prompt, call=call)


def print_list(console: Console, found: list[Waiting], where: str) -> None:
    """Prints a line for each; `where` is the store option, if there was one."""
    now = time.time_ns() // 1000
    shown = _digits(found)
    rows = [[Text(name, "dim") for name in ("token", "session", "asked", "left", "kind", "what")]]
    for each in found:
        left = Text("-", "dim") if each.deadline is None else _left(each.deadline, now)
        kind = Text(each.kind, "dim" if each.answered else "yellow")
        cells = [Text(each.id[:shown], "bold"), Text(one_line(each.session, 40)), Text(age(each.since, now), "dim")]
        rows.append([*cells, left, kind, _what(each)])
    widths = [max(row[column].cell_len for row in rows) for column in range(5)]
    for row in rows:
        line = Text()
        for cell, width in zip(row[:5], widths, strict=True):
            cell.align("left", width)
            line.append_text(cell).append("  ")
        line.append_text(row[5])
        if console.is_terminal:
            line.truncate(console.width, overflow="ellipsis")
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ignore", crop=False)
    first = next((each for each in found if not each.answered), found[0])
    console.print(Text(f"\nlook, then answer: holdfast approve show {first.id[:shown]}{where}", "dim"), soft_wrap=True)


def _digits(found: list[Waiting]) -> int:
    """Returns how many digits tell all of them apart."""
    ids = [each.id for each in found]
    return next((n for n in range(_SHOWN, 16) if len({each[:n] for each in ids}) == len(ids)), 16)


def _left(deadline: int, now: int) -> Text:
    left = (deadline - now) / 1e6
    return Text(seconds(left)) if left > 0 else Text("over", "red")


def _what(each: Waiting) -> Text:
    note = ("answered, heard by nobody yet · ", "magenta") if each.answered else ("", "")
    if each.kind == "approval":
        words = about(each.call) if each.editable and each.call is not None else one_line(masked(each.prompt))
        return Text.assemble(note, (one_line(each.tool, 60), "bold"), " ", words)
    return Text.assemble(note, one_line(masked(each.prompt)))


def print_one(console: Console, found: Waiting, where: str, spent: str = "") -> None:
    """Prints all of what is asked, and how it is answered; `spent` is what its run came to so far."""
    now = time.time_ns() // 1000
    time_left = "" if found.deadline is None else lapse(found.kind, (found.deadline - now) / 1e6)
    console.print(Text.assemble((found.kind, "bold yellow"), f" in session {found.session}"))
    facts = (("token", found.token), ("asked", age(found.since, now)), ("time", time_left), ("so far", spent))
    for name, value in facts:
        if value:
            console.print(Text.assemble((f"  {name:<8}", "dim"), printable(value)), soft_wrap=True)
    console.print()
    _print_subject(console, found)
    ways = _ways(found)
    width = max(len(what) for what, _ in ways)
    for what, line in ways:
        console.print(Text(f"  {what:<{width}}  holdfast approve {line}{where}", "dim"), soft_wrap=True)


def _print_subject(console: Console, found: Waiting) -> None:
    """Prints the call, the questions or the answer that it is about."""
    if found.kind == "approval":
        wait = Wait(found.token, "approval", prompt=found.prompt, subject=found.tool)
        console.print(approval_card(cast("ToolCall", found.call), wait, whole=True))
    elif found.questions:
        for number, question in enumerate(found.questions, 1):
            print_question(console, question, number, len(found.questions), 0)
            indented(console, Text(hint(question), "dim"), 4)
            console.print()
    elif found.kind == "review" and console.is_terminal:
        from holdfast.cli.rendering.markdown import Words

        console.print(Words(printable(found.prompt), theme=settings().theme))
        console.print()
    else:
        said = found.prompt if found.kind == "review" else masked(found.prompt)
        console.print(Text(printable(said)), soft_wrap=True)
        console.print()


def _ways(found: Waiting) -> list[tuple[str, str]]:
    """Returns how it is answered: what comes of it, and the command."""
    name = found.id[:_SHOWN]
    match found.kind:
        case "question":
            return [("answer", f"answer {name} {' '.join(['ANSWER'] * max(1, len(found.questions)))}")]
        case "review":
            again = [(f"send back ({found.changes_left} left)", f"changes {name} FEEDBACK")]
            return [("accept", f"yes {name}"), *(again if found.changes_left else []), ("refuse", f"no {name} REASON")]
        case _:
            edit = [("change", f"yes {name} --edit JSON")] if found.editable else []
            return [("allow", f"yes {name}"), ("always", f"yes {name} --always"), *edit, ("deny", f"no {name} REASON")]
