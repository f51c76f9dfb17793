"""`python -m bench.wires`: measures each adapter and its own floor in turn, and judges the ratios; or soaks them.

The exit code is 0 when every must holds and nothing leaked, 1 when not or when something did not run, 2 for a wrong
option, 130 when interrupted.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from .. import facts
from ..budgets import Verdict
from ..measuring import ProgramFailed, Sample, Surroundings, open_model_server, run_program
from ..plan import Program, quick_case
from ..report import Row, case_rows, render_table, write_results
from ..run import open_console
from .counting import count_instructions, is_there
from .judging import leaks_in
from .plan import CASES, PINNED, SIGNED, WIRES, Look, looks_at

__all__ = ("main",)

RESULTS = facts.REPO / "campaign-results" / "wires.json"
PINS = facts.REPO / "bench" / "wires" / "sha256sums"
CONCURRENCY = 8
SOAKED = 5000


def turns(looks: Sequence[Look], rounds: int) -> Iterator[tuple[int, Look, Program]]:
    """Everything to be measured, in order: the adapter comes right after its floor."""
    for number in range(rounds):
        for look in looks:
            for turn in range(look.case.turns):
                for program in (look.floor, look.adapter):
                    yield number * look.case.turns + turn + 1, look, program


def measure_all(
    looks: Sequence[Look], rounds: int, surroundings: Surroundings, console: Console, *, counted: bool
) -> list[Sample]:
    """The samples; one that fails says so in its sample and does not stop the rest."""
    samples: list[Sample] = []
    measured: Callable[..., Sample] = count_instructions if counted else run_program
    for number, look, program in turns(looks, rounds):
        sample: Sample = {"round": number, "measure": look.case.name, "program": program.name}
        console.print(f"{number} · {look.case.name} · {program.name}")
        environment = {"CASE": look.plays, "RUNS": str(look.case.runs), "CONC": str(CONCURRENCY), "WARMUP": "5"}
        try:
            sample |= measured(
                program.module,
                program.arguments,
                surroundings=surroundings,
                python=sys.executable,
                environment=environment,
            )
        except ProgramFailed as failure:
            sample["error"] = str(failure)
            console.print(f"{look.case.name} · {program.name}: {failure}", style="red", markup=False)
        samples.append(sample)
    return samples


def rows_of(looks: Sequence[Look], samples: list[Sample], *, counted: bool) -> list[Row]:
    """The rows of the table; what was counted is in millions of instructions."""
    rows = [row for look in looks for row in case_rows(look.case, (look.adapter,), samples)]
    return [replace(row, cost=row.cost.replace(" ms", " M")) for row in rows] if counted else rows


def soak_all(wires: Sequence[str], streams: int, surroundings: Surroundings, console: Console) -> list[Sample]:
    """Soaks each wire; a sample says what leaked, or why it did not run."""
    samples: list[Sample] = []
    for wire in wires:
        sample: Sample = {"measure": "soak", "wire": wire}
        try:
            sample |= run_program(
                "bench.wires.soak", (wire,), surroundings=surroundings, environment={"SIZE": str(streams)}
            )
            sample["leaks"] = leaks_in(sample)
        except ProgramFailed as failure:
            sample["error"] = str(failure)
        said = sample.get("error") or ", ".join(sample["leaks"]) or f"{sample['streams']} streams, nothing left"
        good = not (sample.get("error") or sample["leaks"])
        console.print(f"soak · {wire}: {said}", style="green" if good else "bold red", markup=False)
        samples.append(sample)
    return samples


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="bench.wires", description="Adapters against their hand-written floors.")
    parser.add_argument("--wires", nargs="+", choices=WIRES, default=WIRES, help="only these")
    cases = tuple(case.name for case in (*CASES, SIGNED))
    parser.add_argument("--cases", nargs="+", choices=cases, default=cases, help="only these")
    parser.add_argument("--rounds", type=int, default=0, help="times each thing is measured; the median counts (5)")
    parser.add_argument("--instructions", action="store_true", help="count instructions with valgrind, one round")
    parser.add_argument("--soak", type=int, nargs="?", const=SOAKED, metavar="N", help=f"N streams a wire ({SOAKED})")
    parser.add_argument("--quick", action="store_true", help="one short round, judged by nobody: does it all run?")
    parser.add_argument("--no-gate", action="store_true", help="a broken must does not fail the command")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="where programs look for settings; a disk")
    parser.add_argument("--json", type=Path, metavar="FILE", default=RESULTS, help="where results are written")
    options = parser.parse_args(argv)
    if options.instructions and not is_there():
        parser.error("--instructions needs valgrind; install it, or leave the option out")
    return options


def caption_of(about: dict[str, Any], *, counted: bool) -> str:
    """What stands under the table."""
    what = "Cost is instructions of the client, in millions." if counted else "Cost is CPU of the client."
    return (
        f"{what} A result in x is that cost over the floor's of the same wire, in the same round.\n"
        f"load {about['load'][0]:.2f} · at once {CONCURRENCY}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the bench and returns the exit code."""
    options = parse_options(argv)
    files = tuple(f"bench/wires/{name}.py" for name in PINNED)
    pins = facts.check_yardstick(files, PINS)
    soaks, counted = options.soak is not None, options.instructions
    looks = () if soaks else looks_at(tuple(options.wires), tuple(options.cases))
    if options.quick:
        looks = tuple(replace(look, case=quick_case(look.case)) for look in looks)
    if options.quick or counted:  # nothing is steadied by looking again
        looks = tuple(replace(look, case=replace(look.case, turns=1)) for look in looks)
    rounds = options.rounds or (1 if options.quick or counted else 5)
    progress, out = open_console(stderr=True), open_console(stderr=False)
    with facts.open_data_folder(options.data) as folder, open_model_server("bench.wires.server", "") as stub:
        about = facts.about(Path(folder)) | {"hashes": pins, "rounds": rounds, "counted": counted}
        surroundings = Surroundings(stub, Path(folder))
        if soaks:
            samples = soak_all(options.wires, options.soak, surroundings, out)
        else:
            samples = measure_all(looks, rounds, surroundings, progress, counted=counted)
    rows = rows_of(looks, samples, counted=counted)
    path = options.json.with_stem(options.json.stem + "-soak") if soaks else options.json
    write_results(path, about, rows, samples)
    if rows:
        title = f"{about['cpu']}, {about['cores']} cores · median of {rounds}"
        out.print(render_table(rows, title=title, caption=caption_of(about, counted=counted), width=out.width))
    out.print(f"everything that was seen: {path}", soft_wrap=True)
    gate = not (options.no_gate or options.quick)
    broken = any(gate and row.verdict == Verdict.BROKEN.name for row in rows)
    return int(broken or any("error" in sample or sample.get("leaks") for sample in samples))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no program outlives a bench that is ended
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
