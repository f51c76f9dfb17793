"""Resume: how long a run that was killed with a long log takes to be folded and ready to go on, in ms.

`SIZE` is how many events the log has. It is made once for all rounds by a real run in a process that dies inside
its last tool call; each round resumes a copy of it in a fresh process, and the run must then end as scripted.
Opening the store is not counted, claiming, reading, decoding and folding are.

`python -m bench.programs.resume build FILE` is the process that dies.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from holdfast import Agent, Limits, Runtime, tool

SESSION = "long"
EVENTS_PER_STEP = 3
STEPS = int(os.environ["SIZE"]) // EVENTS_PER_STEP
DIED_AS_MEANT = 70
ENDS_WITHIN = 280.0  # seconds

building = False


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    if building and a == STEPS - 1:
        os._exit(DIED_AS_MEANT)
    return a + b


AGENT = Agent(f"openai/tools-{STEPS}", instructions="You add.", tools=[add], limits=Limits(steps=None))


async def build(file: Path) -> None:
    """Runs until the tool ends this process."""
    async with Runtime.open(f"sqlite:///{file}") as runtime:
        await (await runtime.start(AGENT, "go", session=SESSION)).result()


def killed_run() -> Path:
    """A store in which a run was killed; made by a process of its own when it is not there yet.

    Raises:
        SystemExit: That process ended in another way.
    """
    folder = Path(os.environ["BENCH_DATA"]) / f"killed-{STEPS}"
    if not (folder / "done").exists():
        folder.mkdir()
        command = [sys.executable, "-m", "bench.programs.resume", "build", str(folder / "log.db")]
        ended = subprocess.run(command, check=False, timeout=ENDS_WITHIN, capture_output=True, text=True)
        if ended.returncode != DIED_AS_MEANT:
            raise SystemExit(f"the process to be killed ended with {ended.returncode}: {ended.stderr[-300:]}")
        (folder / "done").touch()
    return folder


async def resume() -> None:
    """Measures and prints one line."""
    copy = Path(os.environ["BENCH_DATA"]) / f"resume-{os.getpid()}"
    shutil.copytree(killed_run(), copy, ignore=shutil.ignore_patterns("*-shm"))
    async with asyncio.timeout(ENDS_WITHIN), Runtime.open(f"sqlite:///{copy / 'log.db'}") as runtime:
        cpu, start = time.process_time(), time.perf_counter()
        run = await runtime.resume(SESSION, AGENT)
        ready, ready_cpu = time.perf_counter() - start, time.process_time() - cpu
        events = [event.seq async for event in run.events() if hasattr(event, "seq")]
        result = await run.result()
    if result.output != "Hello world" or events != list(range(1, len(events) + 1)):
        raise SystemExit(f"resumed with {len(events)} events and ended with {result!r}")
    shutil.rmtree(copy)
    cost = f"{ready_cpu * 1e3:.0f} ms"
    print(json.dumps({"value": round(ready * 1e3, 1), "cost": cost, "events": len(events), "steps": result.steps}))


if __name__ == "__main__":
    if sys.argv[1] == "build":
        building = True
        asyncio.run(build(Path(sys.argv[2])))
    else:
        asyncio.run(resume())
