"""Processes that are killed while they deliver, at any instant, and a server that counts what arrives.

The server is a real one and outlives them. `HOLDFAST_DELIVERY_KILLS` says how many kills each promise gets.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.loopback import Request, Server, answer, serving

from holdfast.testing import ScriptedModelServer, Turn

CHILD = Path(__file__).with_name("delivering_child.py")
KILLS = int(os.environ.get("HOLDFAST_DELIVERY_KILLS", "3"))
RUNS = 6
ROOT = Path(__file__).resolve().parents[2]


class Endpoint:
    """Takes deliveries: some late, some with an answer that never comes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.effects: Counter[str] = Counter()
        """What happened, by id: a keyed one does nothing for an id it has seen."""
        self.arrivals: Counter[str] = Counter()
        self.touched = asyncio.Event()
        self.trouble = True

    async def __call__(self, request: Request, writer: Any, _server: Server) -> None:
        method, path, _ = request.line.split(" ")
        if method == "GET":
            writer.write(answer(b"", "200 OK" if path.rpartition("/")[2] in self.effects else "404 Not Found"))
            return
        key = request.headers["idempotency-key"]
        self.arrivals[key] += 1
        if path == "/keyed":
            self.effects[key] = 1
        else:
            self.effects[key] += 1
        self.touched.set()
        fate = self.random.random() if self.trouble else 1.0
        if fate < 0.2:
            writer.close()  # it was taken, and nobody is told
        elif fate < 0.4:
            await asyncio.sleep(0.03)
            writer.write(answer(b""))
        else:
            writer.write(answer(b""))


async def play(store: str, url: str, promise: str, model: str, kill: float | None, touched: asyncio.Event) -> bool:
    """Runs a process, to its end or until it is killed; returns whether it came to its end."""
    environment = {**os.environ, "OPENAI_BASE_URL": model, "OPENAI_API_KEY": "x", "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), store, url, promise, str(RUNS), stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"begin\n"
            if kill is None:
                said = await process.stdout.readline()
                return await process.wait() == 0 and said == b"end\n"
            touched.clear()
            if kill > 0.05:  # some kills are timed from the start, others from when something arrives
                waits = [asyncio.create_task(touched.wait()), asyncio.create_task(process.wait())]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for each in waits:
                    each.cancel()
                kill -= 0.05
            await asyncio.wait([asyncio.create_task(process.wait())], timeout=kill)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()
    return False


@pytest.mark.requirement("runtime:delivery-promises-over-kills")
@pytest.mark.parametrize("promise", ["keyed", "checkable", "at-least-once", "at-most-once"])
async def test_kills_at_any_instant_leave_what_a_target_promises(promise: str, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/s.db"
    endpoint, rng = Endpoint(sum(map(ord, promise))), random.Random(f"{promise}{KILLS}")
    async with ScriptedModelServer([Turn(text="done")]) as model, serving(endpoint) as server:
        for _ in range(KILLS):
            await play(store, server.url, promise, model.base_url, rng.random() * 0.12, endpoint.touched)
        endpoint.trouble = False
        assert await play(store, server.url, promise, model.base_url, None, endpoint.touched)
    counts = list(endpoint.effects.values())
    if promise == "at-most-once":
        assert all(count == 1 for count in endpoint.arrivals.values())
        assert len(counts) <= RUNS
    else:
        assert len(counts) == RUNS
    if promise in ("keyed", "checkable"):
        assert counts == [1] * RUNS
