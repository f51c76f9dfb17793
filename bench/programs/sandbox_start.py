"""Start: `true` in a new sandbox and in a live one, over bubblewrap by hand and over spawning `true` without any.

Argument: `cold-bubblewrap`, `cold-spawn` or `warm-spawn`. Both sides take turns, `SIZE` rounds; the value is the ratio
of their medians, `cost` what ours took. Cold is the launcher running, as it is in a runtime: a sandbox is made, the
program runs in it with its output captured, and the sandbox is gone. `bench/bubblewrap.py` says what it is measured by.
"""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from bench.bubblewrap import Bubblewrap
from holdfast.sandbox.backends.choosing import open_backend
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.timing.commands import Commands, medians, program, spawn, take_turns


async def measure(what: str, workspace: Path) -> None:
    """Measures and prints one line."""
    ours, theirs = what.split("-")
    argv = [program()]
    by_hand = Bubblewrap(argv[0]) if theirs == "bubblewrap" else None
    backend = await open_backend(Profile(backend="native"))
    try:
        commands = Commands(backend, workspace)
        acts = {
            "beside": by_hand.run if by_hand is not None else lambda: spawn(argv),
            "ours": commands.cold if ours == "cold" else commands.warm,
        }
        took = medians(await take_turns(acts, int(os.environ["SIZE"])))
    finally:
        await backend.close()
        if by_hand is not None:
            by_hand.close()
    about = by_hand.hardening if by_hand is not None else "true, spawned"
    cost = f"{took['ours']:.1f} ms"
    value = took["ours"] / took["beside"]
    print(json.dumps({"value": round(value, 3), "cost": cost, "beside": about, "beside_ms": took["beside"]}))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="sandbox-", dir=os.environ["BENCH_DATA"]) as folder:
        asyncio.run(measure(sys.argv[1], Path(folder).resolve()))
