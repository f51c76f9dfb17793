"""What tools kept for a session alone goes with the session, also where something is in the way the first time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, Wrapped, of, scene, soon

from holdfast import Agent
from holdfast.engine.events import ToolFinished
from holdfast.errors import StorageLocked
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import ScriptRequest
from holdfast.tools.resolving import find_tool
from holdfast.types import TenantId, digest_of

pytestmark = pytest.mark.requirement("results:kept-goes-with-its-session")
SECRET = "kept-7c31-unique"
OWN = Agent(MODEL, tools=[find_tool(f"builtin:{name}?session") for name in ("kv_get", "kv_set", "file_save")])
USERS = Agent(MODEL, tools=[find_tool(f"builtin:{name}?user") for name in ("kv_get", "kv_set")])
KEEPS = [Call("kv_set", {"key": "k", "value": SECRET}), Call("file_save", {"name": "f", "text": SECRET + "file"})]
READS = Call("kv_get", {"key": "k"})


def playing(*calls: Call | None) -> Any:
    turns = iter(calls)

    def model(request: ScriptRequest) -> Turn:
        call = next(turns)
        return Turn(text="done") if call is None else Turn(calls=[call])

    return model


async def said(s: Scene, agent: Agent = OWN, session: str = "s") -> list[str]:
    run = await s.runtime.start(agent, "go", session=session)
    assert (await soon(run.result())).status == "completed"
    return [each.result.content for each in of(ToolFinished, await s.log(session))]


def holding(folder: Path) -> list[str]:
    """Returns the files of a folder that hold the secret."""
    return [each.name for each in folder.iterdir() if SECRET.encode() in each.read_bytes()]


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_a_new_session_of_a_deleted_ones_name_finds_nothing_it_kept(store: str, tmp_path: Path) -> None:
    url = "memory:" if store == "memory" else f"sqlite:///{tmp_path}/s.db"
    async with scene(playing(*KEEPS, None, *KEEPS[:1], None, READS, None, READS, None), url=url) as s:
        await said(s)
        await said(s, session="other")
        await s.runtime.delete("s")
        assert not await s.runtime.journal.blobs.has(TenantId("local"), digest_of((SECRET + "file").encode()))
        assert await said(s) == ['{"found":false}']
        assert SECRET in (await said(s, session="other"))[-1], "another session's stays"


async def test_nothing_that_a_deleted_session_kept_is_in_a_file_of_the_store(tmp_path: Path) -> None:
    async with scene(playing(*KEEPS, None), url=f"sqlite:///{tmp_path}/s.db") as s:
        await said(s)
        await s.runtime.delete("s")
        assert holding(tmp_path) == []


async def test_what_a_user_kept_is_theirs_and_outlives_the_session(tmp_path: Path) -> None:
    async with scene(playing(KEEPS[0], None, READS, None), url=f"sqlite:///{tmp_path}/s.db") as s:
        await said(s, USERS)
        await s.runtime.delete("s")
        assert SECRET in (await said(s, USERS))[0]


async def test_a_deletion_that_broke_off_is_finished_by_the_next_one(tmp_path: Path) -> None:
    class Refusing(Wrapped):
        refused = 1

        async def delete(self, *given: Any) -> int:
            if self.refused:
                self.refused -= 1
                raise StorageLocked("busy")
            return await self.inner.delete(*given)

    async with scene(playing(*KEEPS, None, READS, None), url=f"sqlite:///{tmp_path}/s.db", wrap=Refusing) as s:
        await said(s)
        with pytest.raises(StorageLocked):
            await s.runtime.delete("s")
        await s.runtime.delete("s")
        assert await said(s) == ['{"found":false}']
