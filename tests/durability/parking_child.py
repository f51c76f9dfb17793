"""A process that drives sessions which park again and again, for the hunt for lost wake-ups.

parking_child.py URL SESSION...    drives them until each has its answer; says `begins` and `done` of each
"""

from __future__ import annotations

import asyncio
import os
import sys

from tests.durability.parking_agents import AGENT, LIMITS, MODE

from holdfast import Runtime

AT_ONCE = 5


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def main(url: str, sessions: list[str]) -> None:
    turn = asyncio.Semaphore(AT_ONCE)
    async with Runtime.open(url) as runtime:

        async def drive(session: str) -> None:
            async with turn:
                say(f"begins {session}")
                run = await runtime.start(AGENT, "go", session=session, limits=LIMITS, mode=MODE)
                result = await run.result()
                say(f"done {run.session} {result.status}")

        await asyncio.gather(*map(drive, sessions))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
