"""Runs that wait for a folder which another session changes: an abort ends them at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.running import MODEL, Scene, of, scene, seen, soon, until

from holdfast import Agent, Effect, tool
from holdfast.engine.events import ToolFinished
from holdfast.sandbox import locking
from holdfast.testing import Call, Turn
from holdfast.types import TenantId

BUSY = "somebody else"


@tool(effect=Effect(workspace=True, outside="none"), touches=lambda arguments: ("note",))
async def note() -> str:
    """Never ends by itself."""
    await asyncio.Event().wait()
    return "noted"


AGENT = Agent(MODEL, tools=[note])
SCRIPT = [Turn(calls=[Call("note")])]


def held(s: Scene, folder: Path) -> locking.Exclusive:
    """Returns the folder's lock, for another session."""
    return s.runtime._sandboxes.at(TenantId("local"), folder).exclusive(BUSY, 5)


async def in_line(folder: Path) -> None:
    await until(lambda: bool(locking._FOLDERS[str(folder)].line), "nobody waits for the folder")


@pytest.mark.requirement("engine:abort-while-locked")
async def test_a_run_that_waits_for_another_sessions_folder_is_aborted_at_once(tmp_path: Path) -> None:
    async with scene(SCRIPT) as s:
        async with held(s, tmp_path):
            run = await s.runtime.start(AGENT, "go", session="s", workspace=tmp_path)
            await in_line(tmp_path)
            await run.abort("enough")
            result = await soon(run.result())
            assert not locking._FOLDERS[str(tmp_path)].line
        (finished,) = of(ToolFinished, await s.log())
    assert (result.status, result.reason) == ("aborted", "enough")
    assert finished.result.error is not None
    assert finished.result.error.code == "canceled"


@pytest.mark.requirement("engine:abort-while-locked")
@pytest.mark.parametrize("before", [False, True], ids=["while it waits", "before it waits"])
async def test_a_run_whose_files_are_to_be_put_back_is_aborted_at_once_where_the_folder_is_taken(
    tmp_path: Path, before: bool
) -> None:
    (folder := tmp_path / "w").mkdir()
    async with scene(SCRIPT, url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(AGENT, "go", session="s", key="k", workspace=folder)
        await soon(seen(run, "tool.started"))
        await s.runtime._worker.close()  # the call is under way for ever
        async with held(s, folder), s.other() as other:
            if before:
                await other.run("s", "k").abort("enough")
            run = await other.resume("s", AGENT)
            if not before:
                await in_line(folder)
                await run.abort("enough")
            result = await soon(run.result())
    assert (result.status, result.reason) == ("aborted", "enough")


@pytest.mark.requirement("engine:abort-while-locked")
async def test_files_are_put_back_though_an_abort_is_waiting_where_the_folder_is_free(tmp_path: Path) -> None:
    (folder := tmp_path / "w").mkdir()
    async with scene(SCRIPT, url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(AGENT, "go", session="s", key="k", workspace=folder)
        await soon(seen(run, "tool.started"))
        await s.runtime._worker.close()
        (folder / "note").write_text("half")
        async with s.other() as other:
            await other.run("s", "k").abort("enough")
            result = await soon((await other.resume("s", AGENT)).result())
    assert result.status == "aborted"
    assert not (folder / "note").exists()
