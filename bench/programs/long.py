"""A very long run, with a bounded window: what a late step costs over an early one, and how the store grows.

Argument: `cpu` or `bytes`. `SIZE` is how many steps. Each request holds the last messages of the conversation only, so
that what is measured is ours and not the bytes on their way to the model. `cpu` is CPU per step of the last tenth over
that of the steps around the hundredth, by their lower quartiles, because a busy machine only ever adds. The early steps
are those of short runs right after the long one: a hundred steps are over so soon that the machine may have been in
another mood by then. `bytes` fits a + b * n to the stores of two shorter runs, and gives the store of
the long one over what that says: 1 is a straight line. The long run of `bytes` is made once for all rounds.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from holdfast import Agent, Limits, Runtime, tool
from holdfast.engine.doing import asking
from holdfast.types import Message

STEPS = int(os.environ["SIZE"])
WINDOW = 20  # messages; answers and results in turn, so it begins with an answer
HUNDREDTH = slice(50, 150)
SHORT_RUNS = 5
SHORTER = (STEPS // 20, STEPS // 10)

cpu_at: list[float] = []
assemble = asking.assemble


def windowed(spec: Any, messages: Sequence[Message], **more: Any) -> Any:
    """The request with the person's words and the last messages."""
    early = messages[:1] if len(messages) > WINDOW else []
    return assemble(spec, [*early, *messages[-WINDOW:]], **more)


@tool(effect="none")
async def add(a: int, b: int) -> int:
    """Add."""
    cpu_at.append(time.process_time())
    return a + b


async def run_steps(file: Path, steps: int) -> int:
    """Makes a run of so many steps, and returns how many bytes its store has in the end.

    Raises:
        SystemExit: The run did not end as meant.
    """
    # Of a window it is never seen that it has as many results as the script wants: the limit ends the run.
    agent = Agent(f"openai/tools-{WINDOW}", instructions="You add.", tools=[add])
    cpu_at.clear()
    async with Runtime.open(f"sqlite:///{file}") as runtime:
        limits = Limits(steps=steps, identical_repeats=None)
        result = await (await runtime.start(agent, "go", limits=limits)).result()
    if (result.status, result.reason, len(cpu_at)) != ("limited", "steps", steps):
        raise SystemExit(f"{len(cpu_at)} of {steps} steps were made, and the run ended with {result!r}")
    return sum(each.stat().st_size for each in file.parent.glob(f"{file.name}*"))


def taken() -> list[float]:
    """Returns the CPU of each step of the last run."""
    return [later - earlier for earlier, later in pairwise(cpu_at)]


async def late_over_early(folder: Path) -> None:
    """Measures and prints one line."""
    await run_steps(folder / f"warm-{os.getpid()}.db", min(STEPS, 100))
    await run_steps(folder / f"long-{os.getpid()}.db", STEPS)
    last = taken()[-STEPS // 10 :]
    first: list[float] = []
    for number in range(SHORT_RUNS):
        await run_steps(folder / f"short-{os.getpid()}-{number}.db", min(STEPS, HUNDREDTH.stop + 1))
        first += taken()[HUNDREDTH]
    early, late = (statistics.quantiles(part, n=4)[0] for part in (first, last))
    cost = f"{early * 1e3:.2f} - {late * 1e3:.2f} ms"
    print(json.dumps({"value": round(late / early, 3), "cost": cost, "early": early, "late": late}))


async def over_the_line(folder: Path) -> None:
    """Measures and prints one line."""
    kept = folder / f"long-{STEPS}.json"
    if not kept.exists():
        sizes = [await run_steps(folder / f"bytes-{os.getpid()}-{steps}.db", steps) for steps in (*SHORTER, STEPS)]
        kept.write_text(json.dumps(sizes))
    first, second, whole = json.loads(kept.read_text())
    slope = (second - first) / (SHORTER[1] - SHORTER[0])
    start = first - slope * SHORTER[0]
    cost = f"{start / 1024:.0f} KiB + {slope:.0f} B x n"
    value = round(whole / (start + slope * STEPS), 3)
    print(json.dumps({"value": value, "cost": cost, "a": start, "b": slope, "bytes": whole, "steps": STEPS}))


def main(what: str) -> None:
    """Measures one of the two."""
    asking.assemble = windowed
    folder = Path(os.environ["BENCH_DATA"])
    asyncio.run(late_over_early(folder) if what == "cpu" else over_the_line(folder))


if __name__ == "__main__":
    main(sys.argv[1])
