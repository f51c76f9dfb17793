"""Jobs for lanes that run until a test lets them go, or at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ("Gate", "quick", "turns")


async def turns(count: int = 8) -> None:
    """Lets tasks run that wake one another."""
    for _ in range(count):
        await asyncio.sleep(0)


class Gate:
    """A job that runs until it is let go."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log
        self.opened = asyncio.Event()
        self.error: BaseException | None = None
        self.runs = 0

    async def __call__(self) -> str:
        self.runs += 1
        self.log.append(self.name)
        await self.opened.wait()
        if self.error is not None:
            raise self.error
        return self.name

    def open(self, error: BaseException | None = None) -> None:
        self.error = error
        self.opened.set()


def quick(name: str, log: list[str]) -> Callable[[], Coroutine[Any, Any, str]]:
    """Returns a job that says its name and ends."""

    async def job() -> str:
        log.append(name)
        return name

    return job
