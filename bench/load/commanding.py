"""How a program under load is driven: it tells its port, then answers each line on standard input with its figures."""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .pacing import Pace

__all__ = ("commanded",)


class _Paused:
    """How long the collector of garbage held everything up, in seconds of CPU: the machine may be busy with others."""

    def __init__(self) -> None:
        self.longest = self._began = 0.0
        gc.callbacks.append(self)

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        now = time.thread_time()
        if phase == "start":
            self._began = now
        else:
            self.longest = max(self.longest, now - self._began)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


async def commanded(port: int, pace: Pace, go: Callable[[], object] = lambda: None) -> None:
    """Tells the port, and answers until it is told to `end`; `go` begins what there is to begin.

    The pace is kept meanwhile.
    """
    commands, paused = asyncio.StreamReader(), _Paused()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    pacing = asyncio.create_task(pace.run())
    print(json.dumps({"port": port}), flush=True)
    while (command := (await commands.readline()).strip()) not in (b"", b"end"):
        if command == b"go":
            go()
        figures = {
            "at": time.monotonic(),
            "cpu": time.process_time(),
            "rss": _resident(),
            "given": pace.given,
            "late": pace.late,
            "pause": paused.longest,
        }
        pace.late = paused.longest = 0.0
        print(json.dumps(figures), flush=True)
    pacing.cancel()
