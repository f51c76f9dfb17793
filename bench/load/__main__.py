"""`python -m bench.load`: thousands of streams of one server, beside the least that as many cost.

The exit code is 0 when nothing was wrong and every must holds, 1 when not, 2 for a wrong option, 130 when interrupted.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import facts
from ..measuring import ProgramFailed, Sample
from ..run import open_console
from .measuring import Load, faults_in, measure

__all__ = ("judge", "main")

RESULTS = facts.REPO / "campaign-results" / "load.json"
FLOORS = ("starlette", "socket")
LATEST = 5.0
"""Milliseconds within which 99 of 100 deltas are read by their clients, in the quietest window."""
GROWN = 1.1
"""Memory at the end of a long look over what it was after its first quarter."""
LONG = 12
"""Windows from which on memory says something, and is judged."""
QUICK = Load(active=100, idle=300, rate=1000, deltas=30, window=2.0, windows=3, warm=2.0)


def judge(sample: Sample, load: Load) -> list[str]:
    """What is wrong with a server under this load, in words; nothing where every must holds."""
    broken = faults_in(sample)
    if sample["rate"] < 0.98 * load.rate:
        broken.append(f"{sample['rate']} deltas/s of {load.rate:.0f} were made: the machine is too busy to judge it")
    if sample["p99"] > LATEST:
        broken.append(f"p99 {sample['p99']} ms > {LATEST:g} ms")
    windows = sample["windows"]
    if len(windows) >= LONG and windows[-1]["mib"] > GROWN * (begun := windows[len(windows) // 4]["mib"]):
        broken.append(f"memory grew from {begun} to {windows[-1]['mib']} MiB")
    return broken


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="bench.load", description="One server under thousands of streams.")
    parser.add_argument("--active", type=int, default=2000, help="streams that are talked in (2000)")
    parser.add_argument("--idle", type=int, default=10_000, help="streams in which nothing happens (10000)")
    parser.add_argument("--rate", type=float, default=20_000, help="deltas in a second, in all (20000)")
    parser.add_argument("--minutes", type=float, default=0, help="look this long, without floors, at an SQLite store")
    parser.add_argument("--quick", action="store_true", help="a little of it, judged by what is right and not by speed")
    parser.add_argument("--no-floor", action="store_true", help="Holdfast alone")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="where the store of a long look lies; a disk")
    parser.add_argument("--json", type=Path, metavar="FILE", default=RESULTS, help="where results are written")
    return parser.parse_args(argv)


def load_of(options: argparse.Namespace, folder: Path) -> Load:
    """How much is asked for."""
    if options.quick:
        return QUICK
    asked = {"active": options.active, "idle": options.idle, "rate": options.rate}
    if not options.minutes:
        return Load(**asked)
    store = f"sqlite:///{folder}/load-{os.getpid()}.db"
    windows = max(1, round(options.minutes * 2))
    return Load(**asked, store=store, turns=5, deltas=1200, window=30.0, windows=windows, warm=30.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the bench and returns the exit code."""
    options, out = parse_options(argv), open_console(stderr=False)
    kinds = ("holdfast",) if options.no_floor or options.minutes or options.quick else ("holdfast", *FLOORS)

    def tell(line: str) -> None:
        out.print(line, markup=False, highlight=False, soft_wrap=True)

    with facts.open_data_folder(options.data) as folder:
        load, about = load_of(options, Path(folder)), facts.about(Path(folder))
        samples: list[Sample] = []
        for kind in kinds:
            try:
                samples.append(asyncio.run(measure(kind, load, tell)))
            except ProgramFailed as failure:
                samples.append({"program": kind, "error": str(failure)})
    first = samples[0]
    wrong = [each["error"] for each in samples if "error" in each]
    if not wrong:
        wrong = faults_in(first) if options.quick else judge(first, load)
        first["ratios"] = {
            each["program"]: round(first["us_per_delta"] / each["us_per_delta"], 2) for each in samples[1:]
        }
        for each in samples:
            tell(
                f"{each['program']}: {each['us_per_delta']} µs of CPU a delta · p50 {each['p50']}, p99 {each['p99']} ms"
                f" in the quietest window, {each['p99_median']} in the middle · {each['kib_per_stream']} KiB a stream"
            )
        tell(f"cost over the floors: {first['ratios']}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"about": about, "samples": samples, "wrong": wrong}, indent=1), "utf-8")
    for each in wrong:
        out.print(each, style="bold red", markup=False)
    tell(f"everything that was seen: {options.json}")
    return int(bool(wrong))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no program outlives a bench that is ended
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
