"""Many sessions from one state: all of them or none, each with its own files, and gone with their folders."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.sandboxing import names

from holdfast import Agent, Runtime
from holdfast.errors import UnknownSession, UsageError
from holdfast.journal.port import Head, Record
from holdfast.runtime.opening import workspaces_of
from holdfast.testing import ScriptedModelServer, Turn
from holdfast.testing.scripts import Call
from holdfast.tools.builtin.table import BUILTIN
from holdfast.types import BatchId, StreamId, WorkerId

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
        done = await runtime.release(*made)
        assert (len(done.sessions), done.blobs > 0) == (100, True)
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


class Forking:
    """The forks of a store, of which one is kept waiting until its like has to be dealt with."""

    def __init__(self, runtime: Runtime, held: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._held = held
        self._fork = runtime.journal.fork
        self.before, self.after, self.reached = asyncio.Event(), asyncio.Event(), asyncio.Event()
        """What it waits for before it is done, and after; and whether it is there."""
        monkeypatch.setattr(runtime.journal, "fork", self.fork)

    async def fork(self, parent: StreamId, at: int, child: StreamId, batch: BatchId, records: Sequence[Record]) -> Head:
        if child != f"local/{self._held}":
            return await self._fork(parent, at, child, batch, records)
        if not self.before.is_set():
            self.reached.set()
            await self.before.wait()
        head = await self._fork(parent, at, child, batch, records)
        self.reached.set()
        await self.after.wait()
        return head


async def test_a_session_that_somebody_else_began_meanwhile_is_not_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    async with (
        asyncio.timeout(30),
        ScriptedModelServer([_write("first"), Turn("done")]) as server,
        Runtime.open(url, sandbox="none") as runtime,
    ):
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        await _begun(runtime, tmp_path / "project")
        forking = Forking(runtime, "b-4", monkeypatch)
        making = asyncio.ensure_future(runtime.branches("s", 5, name="b"))
        await forking.reached.wait()
        claim = await runtime.journal.claim(StreamId("local/b-2"), WorkerId("other"), 60_000_000)
        place = (workspaces_of(url) or tmp_path) / "local"
        run = await runtime.start(AGENT, "mine", session="b-4", workspace=place / "session-b-4")
        theirs = await run.result()
        forking.before.set()
        with pytest.raises(UsageError):  # what went wrong, and not that one is in use
            await making
        assert theirs.status == "completed"
        assert sorted(each.stream for each in await runtime.journal.heads("local")) == [
            "local/b-2",
            "local/b-4",
            "local/s",
        ]
        assert names(place) == ["session-b-2", "session-b-4"]
        assert names(place / "session-b-4") == ["file"]
        await runtime.journal.release(claim.head.stream, claim.head.epoch)


@pytest.mark.parametrize("done", [True, False])
async def test_who_gives_up_while_one_is_made_leaves_nothing_of_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    async with (
        asyncio.timeout(30),
        ScriptedModelServer([_write("first"), Turn("done")]) as server,
        Runtime.open(url, sandbox="none") as runtime,
    ):
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        await _begun(runtime, tmp_path / "project")
        forking = Forking(runtime, "b-2", monkeypatch)
        if done:
            forking.before.set()
        making = asyncio.ensure_future(runtime.branches("s", 3, name="b"))
        await forking.reached.wait()
        making.cancel()
        forking.before.set()
        forking.after.set()
        with pytest.raises(asyncio.CancelledError):
            await making
        assert [head.stream for head in await runtime.journal.heads("local")] == ["local/s"]
        assert names((workspaces_of(url) or tmp_path) / "local") == []


async def test_a_folder_that_a_killed_release_left_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        ScriptedModelServer([_write("first"), Turn("done")]) as server,
        Runtime.open(f"sqlite:///{tmp_path}/a.db", sandbox="none") as runtime,
    ):
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        await _begun(runtime, tmp_path / "project")
        made = await runtime.branches("s", 2, name="b")
        folders = [Path(await runtime.workspace(name) or "") for name in made]
        await runtime.delete(made[0])  # as far as one came that was killed
        assert names(folders[0]) == ["file", "other"]
        done = await runtime.release(*made)
        assert done.sessions == ("b-2",)
        assert not any(each.exists() for each in folders)
        with pytest.raises(UnknownSession):
            await runtime.release(made[0])
