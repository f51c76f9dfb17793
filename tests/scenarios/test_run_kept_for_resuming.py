"""What is kept so that a run can be gone on with: as long as it is open, and no longer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.running import MODEL, Scene, scene, soon

from holdfast import Agent, Effect, Limits, ToolContext, tool
from holdfast.runtime.history.collecting import collect, portable
from holdfast.runtime.history.reports import Retention
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.faults import Status
from holdfast.types import TenantId

GATES: list[asyncio.Event] = []
"""Set when the tool of this test has begun, and when it may end."""
LONG = 400 * 24 * 3600 * 1_000_000


@tool(effect=Effect(workspace=True, outside="none"))
async def change(context: ToolContext) -> str:
    """Changes a file, and takes its time."""
    assert context.workspace is not None
    context.workspace.replace("file", b"half")
    GATES[0].set()
    await GATES[1].wait()
    return "changed"


AGENT = Agent(MODEL, tools=[change], limits=Limits(model_retries=0))


@pytest.fixture(autouse=True)
def fresh() -> None:
    GATES[:] = [asyncio.Event(), asyncio.Event()]


async def kept(s: Scene) -> int:
    """Returns how many snapshots a collection leaves that comes much later and keeps none for anybody's sake."""
    journal, nothing, later = s.runtime.journal, Retention(snapshots=0, days=0), FakeClock(s.clock.now() + LONG)
    stores = portable(journal.blobs)
    done = await collect(journal, stores, tenant=TenantId("local"), clock=later, keep=nothing)
    return done.snapshots_kept


@pytest.mark.requirement("engine:checkpoint-ends-with-run")
@pytest.mark.parametrize("end", ["completed", "failed"])
async def test_the_files_to_resume_with_stay_over_a_shutdown_and_go_when_the_run_ends(tmp_path: Path, end: str) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "file").write_text("whole")
    turns = [Turn(calls=[Call("change")]), Turn("done", fault=Status(400) if end == "failed" else None)]
    async with scene(turns, url=f"sqlite:///{tmp_path}/s.db") as s:
        async with s.other() as stopped:
            await stopped.start(AGENT, "go", session="s", workspace=tmp_path / "work")
            await soon(GATES[0].wait())
        assert await kept(s) == 1, "a process that is shut down leaves what the next one goes on with"
        GATES[1].set()
        result = await soon((await s.runtime.resume("s", AGENT)).result())
        assert result.status == end
        assert await s.runtime.sweep() == 0, "nothing is left to be gone on with"
        assert await kept(s) == 0
    assert (tmp_path / "work" / "file").read_text() == "half"
