"""Turns samples into rows, and rows into the one table and the file of results.

A ratio is taken inside a round, where floor and program met the same machine, and the median of the rounds is
what is judged; the smallest and the largest stand beside it, so that noise shows.
"""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from .budgets import Verdict, budget_for
from .measuring import Sample
from .plan import FLOOR, Case, Figure, Program

__all__ = ("Row", "case_rows", "figure_rows", "render_table", "write_results")

MARKS = {
    Verdict.AIM: ("✔ aim", "green"),
    Verdict.MUST: ("✔ must", "cyan"),
    Verdict.OVER_AIM: ("- over aim", "yellow"),
    Verdict.BROKEN: ("✘ over must", "bold red"),
    Verdict.REPORTED: ("", "dim"),
    Verdict.FAILED: ("✘ did not run", "bold red"),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    measure: str
    program: str
    title: str
    label: str
    unit: str
    cost: str = ""
    """What one run took, or what stands behind the value."""
    value: float | None = None
    """What is judged; the median of the rounds."""
    low: float | None = None
    high: float | None = None
    must: float | None = None
    aim: float | None = None
    verdict: str = Verdict.REPORTED.name
    error: str = ""


def case_rows(case: Case, programs: Sequence[Program], samples: Iterable[Sample]) -> list[Row]:
    """The rows of one case: the floor, then each program that was measured against it."""
    mine = [s for s in samples if s["measure"] == case.name]
    floor = {s["round"]: s["cpu_ms_per_run"] for s in mine if s["program"] == FLOOR.name and "error" not in s}
    rows: list[Row] = []
    for program in (FLOOR, *programs):
        own = [s for s in mine if s["program"] == program.name]
        pairs = [(s, floor[s["round"]]) for s in own if "error" not in s and s["round"] in floor]
        errors = [s["error"] for s in own if "error" in s]
        if own:
            costs = [s["cpu_ms_per_run"] for s, _ in pairs]
            ratios = [s["cpu_ms_per_run"] / beside for s, beside in pairs]
            cost = f"{_digits(statistics.median(costs))} ms" if costs else ""
            rows.append(_judged(case.name, program.name, (case.title, program.label, "x"), cost, ratios, errors))
    return rows


def figure_rows(figure: Figure, samples: Iterable[Sample]) -> list[Row]:
    """The rows of a figure, one for each number it has."""
    mine = [s for s in samples if s["measure"] == figure.name]
    rows: list[Row] = []
    for program, label in figure.programs:
        own = [s for s in mine if s["program"] == program]
        good = [s for s in own if "error" not in s]
        errors = [s["error"] for s in own if "error" in s]
        if own:
            cost = str(good[-1].get("cost", "")) if good else ""
            values = [float(s["value"]) for s in good]
            rows.append(_judged(figure.name, program, (figure.name, label, figure.unit), cost, values, errors))
    return rows


def _judged(
    measure: str, program: str, words: tuple[str, str, str], cost: str, values: list[float], errors: list[str]
) -> Row:
    """A row with its verdict; a single failed round is a failure, for a figure of the rest would hide it."""
    budget = budget_for(measure, program)
    value = statistics.median(values) if values else None
    verdict = Verdict.FAILED if errors or value is None else budget.judge(value)
    title, label, unit = words
    return Row(
        measure=measure,
        program=program,
        title=title,
        label=label,
        unit=unit,
        cost=cost,
        value=value,
        low=min(values, default=None),
        high=max(values, default=None),
        must=budget.must,
        aim=budget.aim,
        verdict=verdict.name,
        error=errors[0] if errors else ("" if values else "no floor to compare with"),
    )


_BETWEEN = 3
"""Characters between two columns."""


def render_table(rows: Sequence[Row], *, title: str, caption: str, width: int) -> Table:
    """The table; where it would not fit, the columns that explain go before those that judge."""
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    columns: dict[str, tuple[Literal["left", "right"], str]] = {
        "measure": ("left", "bold"),
        "program": ("left", ""),
        "cost": ("right", "dim"),
        "result": ("right", "bold"),
        "from - to": ("right", "dim"),
        "must": ("right", ""),
        "aim": ("right", ""),
        "verdict": ("left", ""),
    }
    table_cells = [{"measure": row.measure, "program": row.label, **_cells(row)} for row in rows]
    widths = {name: max(len(name), *(len(cells[name]) for cells in table_cells), 0) for name in columns}
    shown = list(columns)
    for name in ("from - to", "cost"):
        if sum(widths[each] + _BETWEEN for each in shown) > width:
            shown.remove(name)
    for name in shown:
        justify, style = columns[name]
        # Where it is too much even so, words take a second line, and numbers stay whole.
        table.add_column(name, justify=justify, style=style, no_wrap=name != "program")
    for at, row in enumerate(rows):
        new = at == 0 or rows[at - 1].measure != row.measure
        if new:
            table.add_section()
        cells = table_cells[at] if new else {**table_cells[at], "measure": ""}
        table.add_row(*(cells[name] for name in shown))
    return table


def _cells(row: Row) -> dict[str, str | Text]:
    words, style = MARKS[Verdict[row.verdict]]
    several = row.low is not None and row.low != row.high
    return {
        "cost": row.cost,
        "result": "" if row.value is None else f"{_digits(row.value)} {row.unit}",
        "from - to": f"{_digits(row.low)} - {_digits(row.high)}" if several else "",
        "must": "" if row.must is None else f"{row.must:g}",
        "aim": "" if row.aim is None else f"{row.aim:g}",
        "verdict": Text(words, style=style),
    }


def _digits(value: float | None) -> str:
    """Three digits that mean something."""
    if value is None:
        return ""
    for bound, places in ((1, 3), (10, 2), (100, 1)):
        if abs(value) < bound:
            return f"{value:.{places}f}"
    return f"{value:,.0f}"


def write_results(path: Path, facts: dict[str, Any], rows: Sequence[Row], samples: Sequence[Sample]) -> None:
    """Writes everything that was seen, raw samples included, in place of the last results."""
    path.parent.mkdir(exist_ok=True)
    document = {**facts, "rows": [asdict(row) for row in rows], "samples": list(samples)}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
