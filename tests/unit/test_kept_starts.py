"""Processes that are being started while their owner's are ended, and connections that nobody waits for any more."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Any

import pytest

from holdfast.errors import SandboxError
from holdfast.sandbox.longrunning.keeping import Kept
from holdfast.sandbox.longrunning.process import Asked, Process
from holdfast.sandbox.longrunning.reaching import Reaching


class Started:
    """A process that ends when it is told to."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def signal(self, what: signal.Signals) -> None:
        if not self.ended.done():
            self.ended.set_result(128 + what)

    async def dial(self, port: int) -> socket.socket:
        raise OSError(port)


@pytest.mark.requirement("sandbox:nothing-left-of-a-cancelled-start")
async def test_ending_processes_ends_one_that_is_just_being_started() -> None:
    kept, go = Kept(), asyncio.Event()
    made: list[Started] = []

    async def launch(_: Process) -> Started:
        await go.wait()
        made.append(Started())
        return made[0]

    starting = asyncio.create_task(kept.start(Asked(name="it", command="x", owner="me"), launch))
    await asyncio.sleep(0)
    ending = asyncio.create_task(kept.end("me"))
    await asyncio.sleep(0)
    assert not ending.done()
    go.set()
    async with asyncio.timeout(5):
        await ending
        with pytest.raises(SandboxError, match="ended before it had started"):
            await starting
    assert made[0].ended.result() == 128 + signal.SIGTERM
    assert not kept.of("me")


async def reach(said: list[dict[str, Any]]) -> tuple[Reaching, asyncio.Task[int]]:
    reaching = Reaching(said.append)
    dialling = asyncio.create_task(reaching.dial(80))
    await asyncio.sleep(0)
    return reaching, dialling


async def test_a_connection_that_comes_as_its_dialling_is_cancelled_is_closed() -> None:
    said: list[dict[str, Any]] = []
    reaching, dialling = await reach(said)
    descriptor, other = os.pipe()
    reaching.heard({"connected": said[0]["connection"]}, [descriptor])
    dialling.cancel()
    await asyncio.wait((dialling,))
    assert dialling.cancelled()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)
    os.close(other)


async def test_a_connection_that_comes_after_its_dialling_was_cancelled_stays_the_callers() -> None:
    said: list[dict[str, Any]] = []
    reaching, dialling = await reach(said)
    dialling.cancel()
    await asyncio.wait((dialling,))
    descriptors = list(os.pipe())
    reaching.heard({"connected": said[0]["connection"]}, descriptors)
    assert dialling.cancelled() and len(descriptors) == 2
    for each in descriptors:
        os.close(each)
