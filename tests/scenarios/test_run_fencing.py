"""What an owner's commands left running when it was killed does not outlive the moment somebody else goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.running import MODEL, of, scene, soon, until

from holdfast import Agent
from holdfast.engine.events import ToolFinished
from holdfast.testing import Call, Turn

CHILD = """
import asyncio, sys
from holdfast import Agent, Runtime

async def main():
    async with Runtime.open(sys.argv[1], sandbox="none") as runtime:
        agent = Agent("openai/scripted", tools=["bash"])
        await (await runtime.start(agent, "go", session="s", workspace=sys.argv[2])).result()

asyncio.run(main())
"""
TICKER = "setsid bash -c 'echo $$ > pid.new; mv pid.new pid; while :; do echo x >> ticks; sleep 0.02; done' & wait"


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.requirement("engine:fences-commands-of-lower-epochs", "tools:unknown-outcome-diff")
async def test_a_process_that_left_its_group_is_killed_before_the_run_goes_on(tmp_path: Path) -> None:
    root, url = tmp_path / "work", f"sqlite:///{tmp_path}/s.db"
    root.mkdir()
    async with scene([Turn(calls=[Call("bash", {"command": TICKER})]), Turn(text="done")], url=url) as s:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, url, str(root), env={**os.environ, "OPENAI_BASE_URL": s.server.base_url}
        )
        await until((root / "pid").exists, seconds=10)
        ticker = int((root / "pid").read_text())
        child.send_signal(signal.SIGKILL)
        await child.wait()
        assert alive(ticker)  # it left its group, so the leash did not hold it
        result = await soon((await s.runtime.resume("s", Agent(MODEL, tools=["bash"]))).result(), 10)
        assert not alive(ticker)
        [finished] = of(ToolFinished, await s.log())
    assert result.status == "completed"
    assert finished.result.content.startswith("Outcome unknown")
    assert "ticks" in finished.result.content and "pid" in finished.result.content
