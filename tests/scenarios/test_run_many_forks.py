"""Many sessions from one state: all of them or none, each with its own files, and gone with their folders."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.sandboxing import names

from holdfast import Agent, Runtime
from holdfast.errors import UsageError
from holdfast.runtime.opening import workspaces_of
from holdfast.testing import ScriptedModelServer, Turn
from holdfast.testing.scripts import Call
from holdfast.tools.builtin.table import BUILTIN

pytestmark = pytest.mark.requirement("runtime:fork-many")
AGENT = Agent("openai/gpt-5-mini", tools=[BUILTIN["write"]])


def _write(content: str) -> Turn:
    return Turn(calls=[Call("write", {"path": "file", "content": content})])


async def _begun(runtime: Runtime, folder: Path) -> None:
    await asyncio.to_thread(folder.mkdir)
    await asyncio.to_thread((folder / "other").write_text, "other")
    run = await runtime.start(AGENT, "job", session="s", workspace=folder)
    assert (await run.result()).status == "completed"


async def test_branches_are_live_at_once_and_released_with_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        ScriptedModelServer([_write("first"), Turn("done"), *[Turn("I am here")] * 3]) as server,
        Runtime.open(f"sqlite:///{tmp_path}/a.db", sandbox="none") as runtime,
    ):
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        await _begun(runtime, tmp_path / "project")
        made = await runtime.branches("s", 100, name="b")
        assert made == tuple(f"b-{number}" for number in range(1, 101))
        folders = [Path(await runtime.workspace(name) or "") for name in made]
        assert {tuple(names(each)) for each in folders} == {("file", "other")}
        assert len(set(folders)) == 100
        runs = [await runtime.start(AGENT, "go on", session=name) for name in made[:3]]
        ended = await asyncio.gather(*(run.result() for run in runs))
        assert [each.output for each in ended] == ["I am here"] * 3
        await runtime.release(*made)
        assert not any(each.exists() for each in folders)
        assert [head.stream for head in await runtime.journal.heads("local", limit=200)] == ["local/s"]
        assert names(tmp_path / "project") == ["file", "other"]


async def test_where_one_cannot_be_made_nothing_is_left_of_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    async with (
        ScriptedModelServer([_write("first"), Turn("done")]) as server,
        Runtime.open(url, sandbox="none") as runtime,
    ):
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        await _begun(runtime, tmp_path / "project")
        place = (workspaces_of(url) or tmp_path) / "local"
        (place / "session-b-3").mkdir(parents=True)
        (place / "session-b-3" / "mine").write_text("x")
        with pytest.raises(UsageError, match="is not empty"):
            await runtime.branches("s", 5, name="b")
        assert [head.stream for head in await runtime.journal.heads("local", limit=200)] == ["local/s"]
        assert names(place) == ["session-b-3"]
        assert names(place / "session-b-3") == ["mine"]
        await runtime.fork("s", name="b-2")
        with pytest.raises(UsageError, match="'b-2' already"):
            await runtime.branches("s", 3, name="b")
        with pytest.raises(UsageError, match="1 or more"):
            await runtime.branches("s", 0)
        assert len(await runtime.journal.heads("local", limit=200)) == 2
