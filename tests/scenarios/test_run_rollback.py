"""Where the profile says so, a call that failed, was stopped or was killed leaves no trace in the files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.running import MODEL, Scene, of, scene, seen, soon, until

from holdfast import Agent, ToolContext, tool
from holdfast.engine.events import FilesKept, ToolFinished
from holdfast.errors import SandboxError
from holdfast.sandbox import locking
from holdfast.sandbox.locking import Exclusive
from holdfast.sandbox.policy.profile import Profile, Tree
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.testing import Call, Turn
from holdfast.types import Effect

DONE = Turn(text="done")
NOTE = "the files are back as they were before it"


UNDOING = Profile(backend="none", workspace=Tree(rollback="failed"))


@tool(effect=Effect(workspace=True, outside="unsafe"))
async def spoil(context: ToolContext, how: str) -> str:
    """Changes files, and then does not go well."""
    assert context.workspace is not None
    root = context.workspace.root
    (root / "new").mkdir(exist_ok=True)
    (root / "new/file").write_text("half")
    (root / "old").write_text("spoilt")
    (root / "gone").unlink(missing_ok=True)
    if how == "raises":
        raise ConnectionError("cut off")
    if how == "hangs":
        await asyncio.Event().wait()
    return "well"


@tool(effect=Effect(workspace=True, outside="unsafe"), timeout=0.05)
async def dawdle(context: ToolContext) -> str:
    """Takes too long."""
    assert context.workspace is not None
    (context.workspace.root / "old").write_text("spoilt")
    await asyncio.Event().wait()
    return "late"


@tool(effect="none")
async def outer(context: ToolContext) -> str:
    """Calls one that fails."""
    return (await context.call("spoil", {"how": "raises"})).content


AGENT = Agent(MODEL, tools=[spoil, dawdle, outer, "bash", "write", "read"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "workspace"
    made.mkdir()
    for name in ("old", "gone"):
        (made / name).write_text(name)
    return made


def files(folder: Path) -> dict[str, str]:
    return {
        each.relative_to(folder).as_posix(): each.read_text() if each.is_file() else "" for each in folder.rglob("*")
    }


WHOLE = {"old": "old", "gone": "gone"}


async def results(s: Scene) -> list[tuple[bool, str]]:
    return [(each.rolled_back, each.result.content) for each in of(ToolFinished, await s.log())]


@pytest.mark.requirement("sandbox:rollback-after-failed-tool")
@pytest.mark.parametrize(
    "call", [Call("spoil", {"how": "raises"}), Call("dawdle"), Call("outer"), Call("bash", {"command": "rm *; false"})],
    ids=str,
)  # fmt: skip
async def test_a_call_that_fails_leaves_no_trace_before_the_next_one_begins(folder: Path, call: Call) -> None:
    looks = Call("bash", {"command": "cat old gone; ls"})
    async with scene([Turn(calls=[call, looks]), DONE], sandbox=UNDOING) as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=folder)
        assert (await soon(run.result())).status == "completed"
        told = await results(s)
    assert files(folder) == WHOLE
    assert [undone for undone, _ in told].count(True) == 1
    assert any(NOTE in content for _, content in told)
    assert any(content.startswith("oldgonegone\nold\n") for _, content in told), "the next one saw what was left"


@pytest.mark.requirement("sandbox:rollback-after-failed-tool")
async def test_a_call_that_goes_well_or_fails_without_changing_anything_is_not_spoken_of(folder: Path) -> None:
    calls = [Call("spoil", {"how": "well"}), Call("bash", {"command": "false"})]
    async with scene([Turn(calls=calls), DONE], sandbox=UNDOING) as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=folder)
        await soon(run.result())
        assert [undone for undone, _ in await results(s)] == [False, False]
    assert files(folder) == {"new": "", "new/file": "half", "old": "spoilt"}


async def test_without_the_policy_what_a_failed_call_did_stays(folder: Path) -> None:
    async with scene([Turn(calls=[Call("spoil", {"how": "raises"})]), DONE]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=folder)
        await soon(run.result())
        assert [undone for undone, _ in await results(s)] == [False]
    assert files(folder) == {"new": "", "new/file": "half", "old": "spoilt"}


@pytest.mark.requirement("sandbox:rollback-after-failed-tool")
async def test_a_call_that_is_stopped_midway_leaves_no_trace(folder: Path) -> None:
    async with scene([Turn(calls=[Call("spoil", {"how": "hangs"})])], sandbox=UNDOING) as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=folder)
        await soon(seen(run, "tool.started"))
        await until(lambda: "new/file" in files(folder))
        await run.abort("enough")
        assert (await soon(run.result())).status == "aborted"
        ((undone, content),) = await results(s)
    assert undone
    assert content.startswith("Canceled: the run was stopped")
    assert NOTE in content
    assert files(folder) == WHOLE


@pytest.mark.requirement("sandbox:rollback-that-breaks-ends-the-run")
async def test_where_files_cannot_be_put_back_nothing_goes_on_before_they_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(self: TreeSnapshots, workspace: object, ref: object) -> None:
        raise SandboxError("the disk is full")

    async with scene([Turn(calls=[Call("spoil", {"how": "raises"})]), DONE], sandbox=UNDOING) as s:
        with monkeypatch.context() as broken:
            broken.setattr(TreeSnapshots, "restore", refuse)
            run = await s.runtime.start(AGENT, "go", session="s", workspace=folder)
            with pytest.raises(SandboxError, match="cannot be undone: the disk is full"):
                await soon(run.result())
        assert await results(s) == []
        result = await soon((await s.runtime.resume("s", AGENT)).result())
        assert result.status == "completed"
        ((undone, content),) = await results(s)
    assert undone
    assert content.startswith("Outcome unknown")
    assert files(folder) == WHOLE


async def killed_midway(s: Scene, folder: Path) -> None:
    """A run whose process goes while a command of it runs, and a person who works on."""
    async with s.other() as first:
        await first.start(AGENT, "go", session="s", workspace=folder)
        await until((folder / "begun").exists)
    (folder / "of-a-person").write_text("hours")


HANGING = [Turn(calls=[Call("bash", {"command": "touch begun; sleep 30"})]), DONE]


@pytest.mark.requirement("sandbox:rollback-after-failed-tool", "sandbox:rollback-finished-after-a-crash")
async def test_what_somebody_did_between_a_crash_and_the_recovery_can_be_had_back(folder: Path, tmp_path: Path) -> None:
    async with scene(HANGING, url=f"sqlite:///{tmp_path}/s.db", seconds=40, sandbox=UNDOING) as s:
        await killed_midway(s, folder)
        await soon((await s.runtime.resume("s", AGENT)).result(), 20)
        assert files(folder) == WHOLE
        [kept] = [event.seq for event in await s.log() if isinstance(event.data, FilesKept)]
        await s.runtime.rewind("s", to=kept)
    assert files(folder) == {**WHOLE, "of-a-person": "hours"}


@pytest.mark.requirement("sandbox:rollback-finished-after-a-crash")
async def test_a_recovery_keeps_files_only_when_nobody_else_changes_them(folder: Path, tmp_path: Path) -> None:
    root = str(folder)
    async with scene(HANGING, url=f"sqlite:///{tmp_path}/s.db", seconds=40, sandbox=UNDOING) as s:
        await killed_midway(s, folder)
        async with Exclusive(root, "", "session 'other'", 0):
            run = await s.runtime.resume("s", AGENT)
            await until(lambda: bool(locking._FOLDERS[root].line), "it does not wait")
            (folder / "late").write_text("of another session")
        await soon(run.result(), 20)
        [kept] = [event.seq for event in await s.log() if isinstance(event.data, FilesKept)]
        await s.runtime.rewind("s", to=kept)
    assert files(folder)["late"] == "of another session"
