"""`python -m bench.run`: measures the floor, Holdfast and whoever else is asked for, in turn, and judges the ratios.

The exit code is 0 when every must holds, 1 when one is broken or one of our own programs did not run, 2 for a
wrong option, 130 when interrupted. It decides what runs and in which order; measuring, judging and drawing are
its neighbours'.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import facts
from .budgets import Verdict
from .measuring import ProgramFailed, Sample, Surroundings, open_model_server, run_program
from .plan import CASES, FIGURES, FLOOR, OURS, PEERS, Case, Figure, Program, quick_case
from .report import Row, case_rows, figure_rows, render_table, write_results

__all__ = ("main",)

CONCURRENCY = 8
RESULTS = facts.REPO / "bench" / "results" / "latest.json"
QUICK_CASES = ("hello", "tools10", "stream1000")


@dataclass(frozen=True)
class Bench:
    """What one call of the bench measures."""

    cases: tuple[Case, ...]
    programs: tuple[Program, ...]
    figures: tuple[Figure, ...]
    rounds: int
    quick: bool
    pythons: dict[str, str] = field(default_factory=dict[str, str])
    """The interpreter of each peer."""


@dataclass(frozen=True)
class Step:
    """One measurement to be made."""

    round: int
    turn: int
    """The look at all programs that it belongs to; a round may have several."""
    measure: str
    program: str
    label: str
    module: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    python: str = sys.executable


def steps(bench: Bench) -> Iterator[Step]:
    """Everything to be measured, in order: within a round each program comes right after the floor's turn."""
    for number in range(1, bench.rounds + 1):
        for case in bench.cases if bench.programs else ():
            for turn in range((number - 1) * case.turns, number * case.turns):
                again = turn % case.turns != 0
                for program in (FLOOR, *bench.programs):
                    if not (again and program.imports):  # a peer takes long enough for one look
                        yield _case_step(bench, case, program, number, turn + 1)
        for figure in bench.figures:
            size = figure.quick_size if bench.quick else figure.size
            for program, label in figure.programs:
                yield Step(number, number, figure.name, program, label, figure.module, (program,), {"SIZE": str(size)})


def _case_step(bench: Bench, case: Case, program: Program, number: int, turn: int) -> Step:
    peer = bool(program.imports)
    environment = {
        "CASE": case.name,
        "RUNS": str(case.peer_runs if peer else case.runs),
        "CONC": str(CONCURRENCY),
        "WARMUP": "1" if peer else "5",
    }
    python = bench.pythons.get(program.name, sys.executable)
    return Step(
        number, turn, case.name, program.name, program.label, program.module, program.arguments, environment, python
    )


def measure_all(bench: Bench, surroundings: Surroundings, console: Console) -> list[Sample]:
    """The samples of all steps; one that fails says so in its sample and does not stop the rest."""
    samples: list[Sample] = []
    todo = list(steps(bench))
    columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(todo))
        for step in todo:
            words = f"round {step.round}/{bench.rounds} · {step.measure} · {step.label}"
            progress.update(task, description=words)
            if not console.is_terminal:
                console.print(words)
            sample: Sample = {"round": step.turn, "measure": step.measure, "program": step.program}
            try:
                sample |= run_program(
                    step.module,
                    step.arguments,
                    surroundings=surroundings,
                    python=step.python,
                    environment=step.environment,
                )
            except ProgramFailed as failure:
                sample["error"] = str(failure)
                console.print(f"{step.measure} · {step.label}: {failure}", style="red", markup=False)
            samples.append(sample)
            progress.advance(task)
    return samples


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    names = [p.name for p in (*OURS, *PEERS)] + [f.name for f in FIGURES]
    parser = argparse.ArgumentParser(prog="bench.run", description="Speed against the hand-written floor.")
    parser.add_argument("--cases", type=_names([c.name for c in CASES]), help="these cases, and no other figures")
    parser.add_argument("--only", type=_names(names), help=f"of {', '.join(names)}: only these, beside the floor")
    parser.add_argument("--peers", action="store_true", help="measure other frameworks too, where installed")
    parser.add_argument(
        "--python", action="append", default=[], metavar="PATH", help="an interpreter that has peers; may be repeated"
    )
    parser.add_argument("--rounds", type=_positive, help="times each thing is measured; the median counts (5)")
    parser.add_argument("--quick", action="store_true", help="one short round, judged by nobody: does it all run?")
    parser.add_argument("--no-gate", action="store_true", help="a broken must does not fail the command")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="where stores are put; a disk, not memory")
    parser.add_argument("--json", type=Path, metavar="FILE", default=RESULTS, help="where results are written")
    return parser.parse_args(argv)


def _names(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    known = tuple(known)

    def names(text: str) -> tuple[str, ...]:
        wanted = tuple(word.strip() for word in text.split(",") if word.strip())
        for word in wanted:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
        return wanted

    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number over 0")
    return int(text)


def plan_bench(options: argparse.Namespace) -> tuple[Bench, list[str]]:
    """What to measure, and a word on each peer."""
    only: tuple[str, ...] | None = options.only
    wanted: tuple[str, ...] = options.cases or (QUICK_CASES if options.quick else tuple(c.name for c in CASES))
    cases = tuple(c for c in CASES if c.name in wanted)
    ours = tuple(p for p in OURS if only is None or p.name in only)
    asked = tuple(p for p in PEERS if (options.peers if only is None else p.name in only))
    found = facts.find_peers(options.python) if asked else {}
    figures = tuple(f for f in FIGURES if (options.cases is None if only is None else f.name in only))
    words = [f"{p.label} {found[p.name][1]}" if p.name in found else f"{p.label}: not installed" for p in asked]
    return Bench(
        cases=tuple(map(quick_case, cases)) if options.quick else cases,
        programs=ours + tuple(p for p in asked if p.name in found),
        figures=figures,
        rounds=options.rounds or (1 if options.quick else 5),
        quick=options.quick,
        pythons={name: python for name, (python, _) in found.items()},
    ), words


def caption_of(about: dict[str, Any], peers: list[str]) -> str:
    """What stands under the table."""
    hashes, disk = about["hashes"], about["disk"]
    lines = [
        "Cost is CPU of the client. A result in x is that cost over the floor's in the same round.",
        "sha256 " + " · ".join(f"{Path(name).name} {digest[:12]}" for name, digest in hashes.items()),
        f"stores on {disk['type']}, a synced write takes {disk['fsync_ms']:.2f} ms · load {about['load'][0]:.2f}",
        *([" · ".join(peers)] if peers else []),
    ]
    return "\n".join(lines)


def open_console(*, stderr: bool) -> Console:
    """A console; a file or a pipe is as wide as the table needs."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=120)


def exit_code(rows: Iterable[Row], *, ours: Iterable[str], gate: bool) -> int:
    """1 when a must is broken and that counts, or when something of our own did not run."""
    broken = any(gate and row.verdict == Verdict.BROKEN.name for row in rows)
    failed = any(row.verdict == Verdict.FAILED.name and row.program in ours for row in rows)
    return int(broken or failed)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the bench and returns the exit code."""
    options = parse_options(argv)
    facts.check_yardstick()
    bench, peers = plan_bench(options)
    progress, out = open_console(stderr=True), open_console(stderr=False)
    with facts.open_data_folder(options.data) as folder, open_model_server() as stub:
        data = Path(folder)
        about = facts.about(data) | {"rounds": bench.rounds, "concurrency": CONCURRENCY, "quick": bench.quick}
        about["peers"] = peers
        samples = measure_all(bench, Surroundings(stub, data), progress)
    cases = [row for case in bench.cases for row in case_rows(case, bench.programs, samples)]
    figures = [row for figure in bench.figures for row in figure_rows(figure, samples)]
    write_results(options.json, about, cases + figures, samples)
    title = f"{about['cpu']}, {about['cores']} cores · median of {bench.rounds} · {CONCURRENCY} runs at once"
    out.print(render_table(cases + figures, title=title, caption=caption_of(about, peers), width=out.width))
    out.print(f"everything that was seen: {options.json}", soft_wrap=True)
    ours = {FLOOR.name, *(p.name for p in OURS), *(program for f in FIGURES for program, _ in f.programs)}
    return exit_code(cases + figures, ours=ours, gate=not (options.no_gate or bench.quick))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no program outlives a bench that is ended
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
