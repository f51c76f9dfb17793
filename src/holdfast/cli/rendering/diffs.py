"""Differences between files, in colour: whole, and only what was changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from holdfast.cli.words import printable

__all__ = ("between", "changed", "cut", "diff_line", "tally")

_COMPARED, _MATCHED = 20_000, 2_000
"""Letters and lines that are compared: that takes time that grows faster than they do."""
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
    lines = diff.split("\n")  # and at nothing else: a line of a file may hold what only looks like an end
    plus = sum(line.startswith("+") and not line.startswith("+++") for line in lines)
    minus = sum(line.startswith("-") and not line.startswith("---") for line in lines)
    return Text.assemble((f"+{plus}", "green"), " ", (f"-{minus}", "red"))


def changed(diff: str, most: int) -> list[Text]:
    """Returns the changed lines with one line of the rest around them, at most so many.

    A diff of several files, as git writes it, has the name of each above its lines.
    """
    if diff.startswith("diff "):
        lines = [line for line in diff.split("\n") if line and not line.startswith(("index ", "--- ", "+++ "))]
        return cut([diff_line(line) for line in lines], most)
    lines = printable(diff).splitlines()[2:]
    touched = {at for at, line in enumerate(lines) if line[:1] in _STYLES}
    return cut(list(_around(lines, touched)), most)


def between(before: str, after: str, *, closely: bool = True) -> list[Text]:
    """Returns what one text takes away from and adds to another: all of it, with a line around each place.

    Between the first and the last difference lines are matched only where that is soon done, and `closely` is wanted.
    """
    import difflib

    old, new = before.split("\n"), after.split("\n")
    if not old[-1] and not new[-1]:  # both end with a line end
        old, new = old[:-1], new[:-1]
    first = _same(old, new)
    last = _same(old[first:][::-1], new[first:][::-1])
    begin, end = max(0, first - 1), max(0, last - 1)
    old, new = old[begin : len(old) - end], new[begin : len(new) - end]
    if old == new:
        return []
    if closely and sum(map(len, old)) + sum(map(len, new)) <= _COMPARED and len(old) + len(new) <= _MATCHED:
        lines = list(difflib.unified_diff(old, new, lineterm="", n=1))[3:]
    else:
        above, below = first - begin, len(old) - (last - end)
        come = new[above : len(new) - (last - end)]
        lines = [f" {line}" for line in old[:above]]
        lines += [*(f"-{line}" for line in old[above:below]), *(f"+{line}" for line in come)]
        lines += [f" {line}" for line in old[below:]]
    return [diff_line(line) for line in lines]


def _same(one: Sequence[str], other: Sequence[str]) -> int:
    """Returns how many lines both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


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
