"""What a process of these trials does: start the run or go on with it, be the person it asks, and say how it ended.

It goes on with the run alone: whatever that started and waits for is the business of the runtime.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.durability.campaign.family.players import CAP, CONTROL, LIMITS, USER, Person, agent_for, prices_for
from tests.durability.campaign.program import KEY, SESSION, Order, Outcome

from holdfast import Runtime
from holdfast.errors import HoldfastError
from holdfast.types import session_of, stream_id

__all__ = ("play",)

T = TypeVar("T")


async def play(order: Order) -> Outcome:
    """Plays an order whose prompt names the kind of job."""
    number = order.model.partition("-")[2]
    job = order.prompt
    at_once = 2 if int(number) % 3 == 0 else None  # some have to wait for a place, each time they go on
    async with Runtime.open(f"sqlite:///{order.store}", prices=prices_for(number), at_once=at_once) as runtime:
        await runtime.ledger.set_caps(USER, [CAP])
        if order.retry or await runtime.journal.head(stream_id("local", SESSION)) is None:
            run = await runtime.start(
                agent_for(job, number),
                "Do it.",
                session=SESSION,
                limits=LIMITS[job],
                workspace=order.workspace,
                mode="accept-edits",
                control=CONTROL.get(job),
                key=KEY,
            )
        else:
            run = await runtime.resume(SESSION)
        person = asyncio.create_task(Person(runtime).attend(SESSION))
        result = await _first(run.result(), person)
        await _first(_settled(runtime), person)
        person.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await person
    return Outcome(how="finished", text=f"{result.status}: {result.output}", steps=result.steps)


async def _first(coming: Coroutine[Any, Any, T], person: asyncio.Task[None]) -> T:
    """Returns what comes, unless the person gives up before."""
    task = asyncio.ensure_future(coming)
    await asyncio.wait([task, person], return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await person  # raises
    return task.result()


async def _settled(runtime: Runtime) -> None:
    """Returns when no session has anything to do: the run is over, and those it started still close their books."""
    while busy := [head for head in await runtime.journal.heads("local") if head.state != "idle" or head.unread]:
        for head in busy:
            with contextlib.suppress(HoldfastError):
                await runtime.resume(session_of(head.stream))
        await asyncio.sleep(0)
