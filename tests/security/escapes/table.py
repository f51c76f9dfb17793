"""Writes what the board found as a table in Markdown: attempts by backends.

    python -m tests.security.escapes.table [FILE]

A cell says `open` where the attempt worked and nothing where it did not; `-` stands where it works without a sandbox
neither, so that its failing says nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from tests.security.escapes.board import RESULTS, Board, Row
from tests.security.escapes.catalogue import ATTEMPTS, HOST
from tests.security.escapes.workloads import WORKLOADS

__all__ = ("main", "render")


def render(board: Board) -> str:
    """Returns the table, its sums first."""
    columns = {**board.controls, **board.backends}
    names = [(each.kind, each.name) for each in ATTEMPTS] + [("host", name) for name in HOST]
    known = {name for _, name in names if any(_worked(row, name) for row in board.controls.values())}
    known |= {name for _, name in names if not board.controls}
    lines = [_line("", "attempt", *columns), _line("---", "---", *("---" for _ in columns))]
    sums = (f"{sum(_worked(row, name) for _, name in names)} of {len(known)}" for row in columns.values())
    lines.append(_line("", "**attempts that worked**", *sums))
    done = (f"{len(WORKLOADS) - len(row.workloads)} of {len(WORKLOADS)}" for row in columns.values())
    lines.append(_line("", "**workloads that work**", *done))
    for kind, name in names:
        cells = ("-" if name not in known else "open" if _worked(row, name) else "" for row in columns.values())
        lines.append(_line(kind, f"`{name}`", *cells))
    absent = [f"- {name}: {why.splitlines()[0]}" for name, why in board.absent.items()]
    if absent:
        lines += ["", "Not on the machine this was run on:", "", *absent]
    return "\n".join(lines) + "\n"


def _worked(row: Row, name: str) -> bool:
    return row.attempts[name].worked if name in row.attempts else row.lures.get(name, False)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Prints the table of a board."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    if not path.exists():
        sys.exit(f"there is no {str(path)!r}: run `python -m tests.security.escapes.board` first")
    print(render(msgspec.json.decode(path.read_bytes(), type=Board)), end="")


if __name__ == "__main__":
    main()
