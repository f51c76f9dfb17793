"""One server under load, looked at again and again: what its clients saw, and what it cost."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..facts import REPO
from ..measuring import ProgramFailed, Sample

__all__ = ("Load", "faults_in", "measure")

_ANSWERS = 240.0
"""Seconds that a program may take for an answer: to make and to connect all of the streams is one."""
_SILENCE = 15.0
"""Seconds that an idle stream may be silent."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much there is to do."""

    active: int = 2000
    idle: int = 10_000
    rate: float = 20_000
    """Deltas in a second, of all streams together."""
    deltas: int = 600
    """Of one answer."""
    window: float = 5.0
    """Seconds between two looks."""
    windows: int = 6
    turns: int = 0
    """Answers after which a client goes on in a new session; 0 for never."""
    store: str = "memory:"
    warm: float = 10.0
    """Seconds before the first look."""


class _Program:
    """A program that is driven through its standard input."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self.process = process

    @classmethod
    async def start(cls, module: str, told: dict[str, Any]) -> "_Program":
        command = [sys.executable, "-m", module, json.dumps(told)]
        pipe = asyncio.subprocess.PIPE
        return cls(module, await asyncio.create_subprocess_exec(*command, cwd=REPO, stdin=pipe, stdout=pipe))

    async def answer(self) -> dict[str, Any]:
        """Returns the next line it prints.

        Raises:
            ProgramFailed: It prints none.
        """
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), _ANSWERS)
        except TimeoutError:
            line = b""
        if not line:
            raise ProgramFailed(f"{self._name} says nothing any more")
        found: dict[str, Any] = json.loads(line)
        return found

    async def ask(self, command: str) -> dict[str, Any]:
        """Returns what it says to a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")
        return await self.answer()

    async def end(self) -> None:
        """Ends it, whatever it does."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def measure(kind: str, load: Load, tell: Callable[[str], object] = lambda _: None) -> Sample:
    """Has one server, `holdfast` or one of the floors, carry the load, and returns what was seen.

    Raises:
        ProgramFailed: The server or its clients did not go on.
    """
    server = await _Program.start(
        "bench.load.served" if kind == "holdfast" else "bench.load.floor",
        {
            "kind": kind,
            "active": load.active,
            "idle": load.idle,
            "rate": load.rate,
            "deltas": load.deltas,
            "store": load.store,
        },
    )
    clients = None
    try:
        port = (await server.answer())["port"]
        bare = await server.ask("figures")
        clients = await _Program.start(
            "bench.load.clients", {"port": port, "active": load.active, "idle": load.idle, "turns": load.turns}
        )
        await clients.answer()
        full = await server.ask("figures")
        tell(f"{kind} · {load.active + load.idle} streams are open")
        return {
            "program": kind,
            "kib_per_stream": round((full["rss"] - bare["rss"]) / 1024 / max(1, load.active + load.idle), 1),
            **await _watch(kind, load, server, clients, tell),
        }
    finally:
        for each in (clients, server):
            if each is not None:
                await each.end()


async def _watch(kind: str, load: Load, server: _Program, clients: _Program, tell: Callable[[str], object]) -> Sample:
    await (clients if kind == "holdfast" else server).ask("go")
    await asyncio.sleep(load.warm)
    before, seen = await server.ask("figures"), await clients.ask("figures")
    windows: list[Sample] = []
    for _ in range(load.windows):
        await asyncio.sleep(load.window)
        after, heard = await server.ask("figures"), await clients.ask("figures")
        windows.append(_window(before, after, seen, heard))
        tell(f"{kind} · " + " · ".join(f"{name} {value}" for name, value in windows[-1].items() if name != "at"))
        before, seen = after, heard
    best = min(windows, key=lambda each: each["p99"])
    return {
        "windows": windows,
        "rate": sorted(each["rate"] for each in windows)[len(windows) // 2],
        "us_per_delta": sorted(each["us_per_delta"] for each in windows)[len(windows) // 2],
        **{name: best[name] for name in ("p50", "p99", "max", "load")},
        "p99_median": sorted(each["p99"] for each in windows)[len(windows) // 2],
        "silence": max(each["silence"] for each in windows),
        **{name: seen[name] for name in ("total", "events", "answers", "lagged", "ended", "wrongs", "wrong")},
    }


def _window(before: Sample, after: Sample, seen: Sample, heard: Sample) -> Sample:
    took, given = after["at"] - before["at"], after["given"] - before["given"]
    return {
        "at": round(time.time()),
        "rate": round(given / took),
        "us_per_delta": round((after["cpu"] - before["cpu"]) / max(1, given) * 1e6, 1),
        "cpu_percent": round((after["cpu"] - before["cpu"]) / took * 100),
        "mib": after["rss"] >> 20,
        **{name: heard[name] for name in ("p50", "p90", "p99", "p999", "max", "silence")},
        "pause_ms": round(after["pause"] * 1000, 1),
        "late_ms": round(after["late"] * 1000, 1),
        "clients_percent": round((heard["client_cpu"] - seen["client_cpu"]) / took * 100),
        "wrongs": heard["wrongs"],
        "load": round(os.getloadavg()[0], 1),
    }


def faults_in(sample: Sample) -> list[str]:
    """What was wrong with the streams, in words; how fast they were is not looked at."""
    found = [f"{each}" for each in sample["wrong"][:5]]
    found += [f"{sample[name]} {name}" for name in ("lagged", "ended") if sample[name]]
    if sample["silence"] > _SILENCE:
        found.append(f"an idle stream was silent for {sample['silence']} s")
    if not sample["total"]:
        found.append("no delta came")
    return found
