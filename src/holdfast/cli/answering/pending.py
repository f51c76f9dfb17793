"""What is asked in the sessions of a store, drawn: a line for each, or all of one."""

from __future__ import annotations

import time
from typing import cast

from rich.console import Console
from rich.text import Text

from holdfast.cli.asking.card import approval_card
from holdfast.cli.asking.picking import question_lines
from holdfast.cli.outcomes import about
from holdfast.cli.words import age, one_line, printable, seconds
from holdfast.runtime.history.waiting import Waiting
from holdfast.types import ToolCall, Wait

__all__ = ("named", "print_list", "print_one")

_SHOWN = 8
"""Digits that are shown; more where those would mean several."""


def named(each: Waiting) -> str:
    """Returns how something that is asked is named where it could be taken for another."""
    return f"{each.id[:_SHOWN]} in {each.session}"


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
        words = about(each.call) if each.editable and each.call is not None else one_line(each.prompt)
        return Text.assemble(note, (one_line(each.tool, 60), "bold"), " ", words)
    return Text.assemble(note, one_line(each.prompt))


def print_one(console: Console, found: Waiting, where: str) -> None:
    """Prints all of what is asked, and how it is answered."""
    now = time.time_ns() // 1000
    left = "" if found.deadline is None else f", {_left(found.deadline, now).plain} left"
    console.print(Text.assemble((found.kind, "bold yellow"), f" in session {found.session}", (left, "dim")))
    for name, value in (("token", found.token), ("asked", age(found.since, now))):
        console.print(Text.assemble((f"  {name:<8}", "dim"), printable(value)), soft_wrap=True)
    console.print()
    if found.kind == "approval":
        wait = Wait(found.token, "approval", prompt=found.prompt, subject=found.tool)
        console.print(approval_card(cast("ToolCall", found.call), wait, whole=True))
    for number, question in enumerate(found.questions, 1):
        for line in question_lines(question, number, len(found.questions)):
            console.print(line, soft_wrap=True)
        console.print()
    if not found.questions and found.kind != "approval":
        console.print(Text(printable(found.prompt)), soft_wrap=True)
        console.print()
    for line in _ways(found):
        console.print(Text(f"  holdfast approve {line}{where}", "dim"), soft_wrap=True)


def _ways(found: Waiting) -> list[str]:
    """Returns how it is answered."""
    name = found.id[:_SHOWN]
    match found.kind:
        case "question":
            return [f"answer {name} {' '.join(['ANSWER'] * max(1, len(found.questions)))}"]
        case "review":
            again = [f"changes {name} FEEDBACK"] if found.changes_left else []
            return [f"yes {name}", *again, f"no {name} REASON"]
        case _:
            edit = [f"yes {name} --edit JSON"] if found.editable else []
            return [f"yes {name}", f"yes {name} --always", *edit, f"no {name} REASON"]
