"""Counts what Python does for an answer: instructions of its machine, and calls of what is written in C.

It is the same on a busy machine as on a quiet one, and needs no other tool than Python, so a test can hold an adapter
to it (`tests/scenarios/test_wire_steps.py`). It sees nothing of what a call into C costs: that is for `counting.py` and
for the clock.

`python -m bench.wires.steps WIRE ...` prints a JSON line for all of them. Read from the environment: `CASE`, `STUB`.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from types import FrameType
from typing import Any

import aiohttp

from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED

from .asking import model_of, request_of
from .script import CASE, base, signs, with_tools

__all__ = ("Steps", "steps_of")

WARMUP = 2
LOOKS = 3
"""How often each is looked at; the least counts: the network may cut an answer anywhere."""


class Steps:
    """What was done while it was entered, in this thread."""

    def __init__(self) -> None:
        self.instructions = 0
        self.calls = 0

    def __enter__(self) -> "Steps":
        self._before = sys.gettrace(), sys.getprofile()
        sys.setprofile(self._profile)
        sys.settrace(self._entered)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(self._before[0])
        sys.setprofile(self._before[1])

    def _entered(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is Steps.__exit__.__code__:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._each

    def _each(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            self.instructions += 1
        return self._each

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "c_call":
            self.calls += 1


async def steps_of(ask: Callable[[], AsyncIterator[Any]]) -> dict[str, int]:
    """The fewest instructions and calls that one answer took."""
    looks: list[Steps] = []
    for number in range(WARMUP + LOOKS):
        with Steps() as steps:
            async for _ in ask():
                pass
        if number >= WARMUP:
            looks.append(steps)
    return {
        "instructions": min(look.instructions for look in looks),
        "calls": min(look.calls for look in looks),
    }


async def floor_of(wire: str) -> dict[str, int]:
    """What the floor of a wire takes."""
    floor = import_module(f"bench.wires.floors.{wire}")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as session:
        return await steps_of(lambda: floor.ask(session))


async def adapter_of(wire: str) -> dict[str, int]:
    """What Holdfast's adapter takes."""
    async with HttpClient(TRUSTED) as client:
        model = model_of(wire, client, base(wire), signed=signs())
        request = request_of(model.name, tools=with_tools())
        return await steps_of(lambda: model.fresh().stream(request))


async def main(wires: list[str]) -> None:
    """Count all, and print it."""
    found = {wire: {"floor": await floor_of(wire), "adapter": await adapter_of(wire)} for wire in wires}
    print(json.dumps({"case": CASE, "wires": found}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
