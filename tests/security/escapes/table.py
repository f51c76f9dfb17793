"""Writes what the board found as a page of the documents: attempts by backends, and the machine it was found on.

    python -m tests.security.escapes.table [BOARD]...

The page is made of `found.json`, which is kept beside this; what boards (`board.py`) given by their paths say replaces
what is in there first, row by row.
A cell says `open` where the attempt worked or the posture lists it, and nothing elsewhere; `-` stands where it works
without a sandbox neither, so that its failing says nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import msgspec
from tests.security.escapes.board import ROOT, Board, Row
from tests.security.escapes.catalogue import ATTEMPTS, HOST, PROXY
from tests.security.escapes.workloads import WORKLOADS

__all__ = ("FOUND", "PAGE", "Column", "Found", "condensed", "main", "page", "render")

FOUND: Final = Path(__file__).with_name("found.json")
PAGE: Final = ROOT / "docs" / "reference" / "escapes.md"
_HEAD = """# Ways out that were tried

[Sandboxes](../guide/sandboxes.md) · written by `tests/security/escapes/table.py`

Each attempt is made from inside, under a profile that asks for less than it takes (512 MB of memory, 128 processes,
256 MB of disk), and judged from the host. `open` says that it worked, or that the backend's
posture lists it, which has each that worked.
The first two columns are no sandbox at all: what fails in both says nothing about one, and has a `-`. `rootless` is the
same started by an ordinary user. That none worked means these, not that there is none.
"""
_PROXY = """
## On the proxy

Made on the one way out, which only a backend with an egress proxy has, and refused in the tests of it
(`tests/security/test_egress_battery.py`, `tests/security/test_egress_hostile.py`):
"""


class Column(msgspec.Struct, frozen=True):
    """What one backend, or control, let through and did not let work."""

    worked: tuple[str, ...]
    listed: tuple[str, ...]
    """What its posture says is open."""
    broken: tuple[str, ...]


class Found(msgspec.Struct, frozen=True):
    """What was found on one machine."""

    machine: dict[str, str]
    controls: dict[str, Column]
    backends: dict[str, Column]
    absent: dict[str, str]


def condensed(board: Board) -> Found:
    """Returns what a board says, without the evidence."""

    def column(row: Row) -> Column:
        worked = [name for name, verdict in row.attempts.items() if verdict.worked]
        worked += [name for name, bitten in row.lures.items() if bitten]
        listed = () if row.posture is None else row.posture.open
        return Column(tuple(sorted(worked)), tuple(sorted(listed)), tuple(sorted(row.workloads)))

    return Found(
        board.machine,
        {name: column(row) for name, row in board.controls.items()},
        {name: column(row) for name, row in board.backends.items()},
        {name: why.splitlines()[0] for name, why in board.absent.items()},
    )


def render(found: Found) -> str:
    """Returns the table, its sums first."""
    columns = {**found.controls, **found.backends}
    names = [(each.kind, each.name) for each in ATTEMPTS] + [("host", name) for name in HOST]
    known = {name for control in found.controls.values() for name in control.worked}
    known |= {name for _, name in names if not found.controls}
    lines = [_line("", "attempt", *columns), _line("---", "---", *("---" for _ in columns))]
    opened = {name: {*column.worked, *column.listed} & known for name, column in columns.items()}
    sums = (f"{len(ways)} of {len(known)}" for ways in opened.values())
    lines.append(_line("", "**attempts that worked**", *sums))
    done = (f"{len(WORKLOADS) - len(column.broken)} of {len(WORKLOADS)}" for column in columns.values())
    lines.append(_line("", "**workloads that work**", *done))
    for kind, name in names:
        cells = ("-" if name not in known else "open" if name in ways else "" for ways in opened.values())
        lines.append(_line(kind, f"`{name}`", *cells))
    return "\n".join(lines) + "\n"


def page(found: Found) -> str:
    """Returns the page of the documents."""
    machine = "; ".join(f"{name} {version}" for name, version in found.machine.items())
    parts = [_HEAD, f"Found on: {machine}.", "", render(found)]
    broken = {name: column.broken for name, column in found.backends.items() if column.broken}
    if broken:
        parts += ["Of the ordinary workloads these do not work:", ""]
        parts += [f"- {name}: {', '.join(each)}" for name, each in broken.items()]
    if found.absent:
        parts += ["", "Not on that machine:", "", *(f"- {name}: {why}" for name, why in found.absent.items())]
    parts += [_PROXY, *(f"- `{name}`" for name in PROXY)]
    return "\n".join(parts) + "\n"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Writes the page."""
    found = Found({}, {}, {}, {})
    if FOUND.exists():
        found = msgspec.json.decode(FOUND.read_bytes(), type=Found)
    for path in sys.argv[1:]:
        newer = condensed(msgspec.json.decode(Path(path).read_bytes(), type=Board))
        backends = {**found.backends, **newer.backends}
        absent = {name: why for name, why in {**found.absent, **newer.absent}.items() if name not in newer.backends}
        kept = {name: column for name, column in backends.items() if name not in newer.absent}
        found = Found(newer.machine, {**found.controls, **newer.controls}, kept, absent)
    FOUND.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    PAGE.write_text(page(found), "utf-8")


if __name__ == "__main__":
    main()
