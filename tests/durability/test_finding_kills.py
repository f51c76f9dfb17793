"""A process is killed whose requests carry some of 500 tools; the next one asks the very same, and a fork does, too."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.many_tools import TOOLS
from tests.running import soon

from holdfast import Agent, Runtime
from holdfast.testing import Call, ScriptedModelServer, Turn
from holdfast.testing.faults import Hang
from holdfast.testing.scripts import ScriptRequest

_CODE = "import sys; from tests.durability.test_finding_kills import go; go(sys.argv[1])"
HANGS: list[int] = []


def go(url: str) -> None:
    """Is the process that is killed; it says what is durable."""

    async def main() -> None:
        async with Runtime.open(url) as runtime:
            run = await runtime.start(Agent("openai/scripted", tools=TOOLS), "Create an issue.", session="s")
            async for event in run.events():
                if event.type in ("run.started", "tool.finished"):
                    print(event.type, flush=True)

    asyncio.run(main())


def model(request: ScriptRequest) -> Turn | str:
    """Searches, calls what it found, and searches again; says nothing once where it is told to hang."""
    done = request.tool_results
    fault = None
    if done in HANGS:
        HANGS.remove(done)
        fault = Hang(times=1)
    steps = [
        Turn(calls=[Call("find_tools", {"query": "renew a certificate"})], fault=fault),
        Turn(calls=[Call("update_certificate", {"identifier": "7"})], fault=fault),
        Turn(calls=[Call("find_tools", {"query": "export a dashboard", "limit": 3})], fault=fault),
    ]
    return steps[done] if done < len(steps) else Turn("done", fault=fault)


def killed(url: str, server: ScriptedModelServer, requests: int) -> None:
    environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", _CODE, url], env=environment, start_new_session=True, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert all(process.stdout.readline() for _ in range(requests))
            assert server.wait_arrived(requests, 20)
        finally:
            process.send_signal(signal.SIGKILL)


@pytest.mark.requirement("finding:follows-from-the-log")
@pytest.mark.parametrize("at", range(4))
async def test_after_a_kill_the_next_process_sends_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    HANGS[:] = [at]
    with ScriptedModelServer.in_thread(model) as server:
        await asyncio.to_thread(killed, url, server, at + 1)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        async with Runtime.open(url) as runtime:
            assert (await soon((await runtime.resume("s")).result(), 20)).output == "done"
            child = await runtime.fork("s", name="child")
            agent = Agent("openai/scripted", tools=TOOLS)
            for session in ("s", child):
                await soon((await runtime.start(agent, "Go on.", session=session)).result(), 20)
        bodies = [each.body for each in server.requests]
    assert bodies[at + 1] == bodies[at], "what was asked when the process was killed is asked again"
    assert len(bodies) == 7
    assert bodies[6] == bodies[5], "a fork asks what its parent asks"
    with ScriptedModelServer.in_thread(model) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        async with Runtime.open("memory:") as runtime:
            agent = Agent("openai/scripted", tools=TOOLS)
            await soon((await runtime.start(agent, "Create an issue.", session="s")).result(), 20)
        undisturbed = [each.body for each in server.requests]
    del bodies[at]
    assert bodies[:4] == undisturbed, "and so does a run that nobody killed"
