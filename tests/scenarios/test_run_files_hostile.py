"""Files in bad company: forks that fail half-way, folders that vanish, people and other sessions in the same place."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, all_answered, of, scene, seen, soon, until
from tests.scenarios.test_run_files import AGENT, bash, coded, tree, write

from holdfast import Agent, Effect, ToolContext, tool
from holdfast.engine.events import CallReopened, FilesRestored, ToolFinished
from holdfast.errors import SandboxError, WorkspaceBusy
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.testing import Call, Turn, When
from holdfast.types import TenantId

FULL = OSError(28, "No space left on device")
END = Turn(text="end", when=When(user_contains="more"))


async def fails(*_: Any) -> None:
    raise FULL


def names(folder: Path) -> list[str]:
    return sorted(tree(folder))


@pytest.mark.requirement("runtime:pending-files-stay-in-their-folder")
@pytest.mark.parametrize("how", ["fork", "rewind"])
async def test_files_that_are_still_to_be_put_back_are_put_back_nowhere_else(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, mine = tmp_path / "work", tmp_path / "mine"
    for folder in (root, mine):
        folder.mkdir()
    (mine / "thesis").write_text("three years of work")
    turns = [Turn(calls=[bash("echo 1 > a")]), Turn(calls=[bash("echo 2 > b")]), Turn(text="done"), END]
    async with scene(turns, url=f"sqlite:///{tmp_path}/s.db") as s:
        log = await coded(s, root)
        first = next(event.seq for event in log if isinstance(event.data, ToolFinished))
        with monkeypatch.context() as full:
            full.setattr("holdfast.runtime.history.branching.fill", fails)
            full.setattr(TreeSnapshots, "restore", fails)
            with pytest.raises(OSError, match="No space"):
                if how == "fork":
                    await s.runtime.fork("s", at=first, name="f", workspace=tmp_path / "f")
                else:
                    await s.runtime.rewind("s", to=first)
        name = "f" if how == "fork" else "s"
        assert (
            await soon((await s.runtime.start(AGENT, "more", session=name, workspace=mine)).result())
        ).output == "end"
        assert names(mine) == ["thesis"]
        # whoever branches off meanwhile gets the files as they were meant to be
        await s.runtime.fork(name, name="g", workspace=tmp_path / "g", at=(await s.log(name))[0].seq + first)
        assert names(tmp_path / "g") == ["a"]


@pytest.mark.requirement("runtime:recovery-keeps-what-it-replaces")
async def test_what_a_person_did_since_the_crash_is_kept_before_files_are_put_back(tmp_path: Path) -> None:
    hangs = [True]

    @tool(effect=Effect(workspace=True, outside="none"), name="build")
    async def build(context: ToolContext) -> str:
        """Builds."""
        assert context.workspace is not None
        (context.workspace.root / "out").write_text("built")
        if hangs[0]:
            await asyncio.Event().wait()
        return "built"

    agent = Agent(MODEL, tools=[build])
    root = tmp_path / "work"
    root.mkdir()
    async with scene([Turn(calls=[Call("build", {})]), Turn(text="done")], url=f"sqlite:///{tmp_path}/s.db") as s:
        await s.runtime.start(agent, "go", session="s", workspace=root)
        await until((root / "out").exists)
        await s.runtime.close()
        hangs[0] = False
        (root / "thesis").write_text("written since")
        async with s.other() as other:
            await soon((await other.resume("s", agent)).result())
            s.runtime = other
            [reopened] = of(CallReopened, await s.log())
            assert reopened.before is not None
            copy = tmp_path / "copy"
            copy.mkdir()
            sandbox = other._sandboxes.at(TenantId("local"), copy)
            await sandbox.snapshots.clone(reopened.before, sandbox.workspace)
    assert (copy / "thesis").read_text() == "written since"


@pytest.mark.requirement("runtime:vanished-workspace-can-be-ended")
async def test_a_run_whose_folder_is_gone_can_still_be_ended(tmp_path: Path) -> None:
    root = tmp_path / "work"
    root.mkdir()
    turns = [Turn(calls=[bash("echo 1 > a; exec sleep 60")]), Turn(text="done"), END]
    async with scene(turns, url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=root)
        await until((root / "a").exists)
        await s.runtime.close()
        shutil.rmtree(root)
        async with s.other() as other:
            with pytest.raises(SandboxError):
                await soon((await other.resume("s", AGENT)).result())
            again = other.run("s", run.key)
            await again.abort("it is gone")
            await other.resume("s", AGENT)
            assert (await soon(again.result())).status == "aborted"
            s.runtime = other
            assert all_answered(await s.log())
            root.mkdir()
            assert (await soon((await other.start(AGENT, "more", session="s")).result())).output == "end"


@pytest.mark.requirement("runtime:fork-hears-early-mail")
async def test_a_prompt_to_a_fork_that_is_still_being_filled_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "work"
    root.mkdir()
    reached, go = asyncio.Event(), asyncio.Event()
    clone = TreeSnapshots.clone

    async def slow(*arguments: Any) -> None:
        reached.set()
        await go.wait()
        await clone(*arguments)

    async with scene([Turn(calls=[write("a", "1")]), Turn(text="done"), END], url=f"sqlite:///{tmp_path}/s.db") as s:
        await coded(s, root)
        monkeypatch.setattr(TreeSnapshots, "clone", slow)
        forking = asyncio.create_task(s.runtime.fork("s", name="f", workspace=tmp_path / "f"))
        await soon(reached.wait())
        run = await s.runtime.start(AGENT, "more", session="f")
        go.set()
        await soon(forking)
        assert (await soon(run.result())).output == "end"
        assert names(tmp_path / "f") == ["a"]
        assert len(of(FilesRestored, await s.log("f"))) == 1


@pytest.mark.requirement("runtime:one-changes-a-folder-at-a-time")
async def test_sessions_that_share_a_folder_change_it_one_after_another_and_nobody_rewinds_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.runtime.history.branching._PATIENCE", 0.05)
    root = tmp_path / "work"
    root.mkdir()
    holds = "touch begun; while [ ! -e go ]; do sleep 0.01; done; rm begun"
    script = {
        "a": [Turn(calls=[bash(holds)]), Turn(text="done")],
        "b": [Turn(calls=[bash("test -e begun && echo together; exit 0")]), Turn(text="done")],
    }
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db") as s:
        agents = {name: Agent(f"openai/{name}", tools=["bash"]) for name in script}
        done = await s.runtime.start(agents["b"], "go", session="old", workspace=root)
        await soon(done.result())
        first = await s.runtime.start(agents["a"], "go", session="a", workspace=root)
        await until((root / "begun").exists)
        second = await s.runtime.start(agents["b"], "go", session="b", workspace=root)
        await soon(seen(second, "model.finished"))
        with pytest.raises(WorkspaceBusy, match="session 'a'"):
            await s.runtime.rewind("old", to=2)
        (root / "go").touch()
        await soon(first.result())
        await soon(second.result())
        assert "together" not in of(ToolFinished, await s.log("b"))[0].result.content
