"""Differences between files, in colour: whole, and only what was changed."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from holdfast.cli.words import printable

__all__ = ("between", "changed", "cut", "diff_line", "tally")

_STYLES = {"+": "green", "-": "red"}


def diff_line(line: str) -> Text:
    """Returns a line of a unified diff in its colour."""
    line = printable(line).expandtabs(4)
    if line[:1].isalpha() or line.startswith(("--- ", "+++ ")):  # what says which file it is
        return Text(line, "bold" if line[:1].isalpha() else "dim")
    if line.startswith("@@"):
        return Text(line, "cyan")
    return Text(line, _STYLES.get(line[:1], ""))


def tally(diff: str) -> Text:
    """Returns how many lines were added and taken away, in colour."""
    lines = diff.splitlines()
    plus = sum(line.startswith("+") and not line.startswith("+++") for line in lines)
    minus = sum(line.startswith("-") and not line.startswith("---") for line in lines)
    return Text.assemble((f"+{plus}", "green"), " ", (f"-{minus}", "red"))


def changed(diff: str, most: int) -> list[Text]:
    """Returns the changed lines with one line of the rest around them, at most so many."""
    lines = printable(diff).splitlines()[2:]
    touched = {at for at, line in enumerate(lines) if line[:1] in _STYLES}
    return cut(list(_around(lines, touched)), most)


def between(before: str, after: str, most: int) -> list[Text]:
    """Returns what one text takes away from and adds to another, at most so many lines."""
    import difflib

    if len(before) + len(after) > 20_000:  # comparing is quadratic
        old, new = before[:2000].splitlines(), after[:2000].splitlines()
    else:
        old, new = before.splitlines(), after.splitlines()
    lines = difflib.unified_diff(old, new, lineterm="", n=1)
    shown = [diff_line(line) for number, line in enumerate(lines) if number > 2]
    return cut(shown, most)


def cut(lines: list[Text], most: int) -> list[Text]:
    """Returns the first so many lines, the last of which says how many more there are."""
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], Text(f"… {len(lines) - most + 1:,} more lines", "dim")]


def _around(lines: list[str], touched: set[int]) -> Iterator[Text]:
    last = -1
    for at, line in enumerate(lines):
        near = at in touched or ({at - 1, at + 1} & touched and line.strip() and line[:1] == " ")
        if not near:
            continue
        if last >= 0 and at > last + 1:
            yield Text("⋯", "dim")
        last = at
        yield Text(line.expandtabs(4), _STYLES.get(line[:1], "dim"))
