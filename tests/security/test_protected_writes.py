"""What a profile protects is written by no file tool and brought back by no commit: bash may not, so they may not."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.sandboxing import names

from holdfast import Agent, Runtime
from holdfast.errors import SandboxError
from holdfast.sandbox.policy.profile import PROTECTED
from holdfast.sandbox.workspace import Workspace
from holdfast.testing import ScriptedModelServer, Turn
from holdfast.testing.scripts import Call
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.table import BUILTIN
from holdfast.types import CallId, StreamId

pytestmark = pytest.mark.requirement("sandbox:protected-from-file-tools")


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    (tmp_path / ".vscode").mkdir()
    (tmp_path / ".vscode" / "tasks.json").write_text("old")
    (tmp_path / "plain").mkdir()
    (tmp_path / "to-editor").symlink_to(".vscode")
    (tmp_path / "plain" / "up").symlink_to("../.envrc")
    return Workspace(tmp_path, protected=PROTECTED)


async def use(space: Workspace, name: str, path: str) -> None:
    more: dict[str, Any] = {"content": "x"} if name == "write" else {"edits": [{"oldText": "old", "newText": "x"}]}
    made = BUILTIN[name]
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k", workspace=space)
    await made.run(made.parse(json.dumps({"path": path, **more}).encode()), context)


@pytest.mark.parametrize("name", ["write", "edit"])
@pytest.mark.parametrize(
    "path",
    [
        *(f"{each}/new" for each in PROTECTED),
        *PROTECTED,
        ".VSCode/tasks.json",
        "plain/../.vscode/tasks.json",
        "to-editor/tasks.json",
        "plain/up",
        "./.mcp.json",
    ],
)
async def test_no_file_tool_writes_what_is_protected_by_whatever_path(space: Workspace, name: str, path: str) -> None:
    before = names(space.root)
    with pytest.raises(ToolFailure) as caught:
        await use(space, name, path)
    assert caught.value.code == "permission_denied"
    assert (names(space.root), (space.root / ".vscode/tasks.json").read_text()) == (before, "old")


async def test_the_workspace_itself_refuses_whoever_asks_and_lets_neighbours_be(space: Workspace) -> None:
    for path in (".envrc", "to-editor/tasks.json", ".claude/settings.json", "plain/up"):
        with pytest.raises(SandboxError, match="which its profile protects"):
            await asyncio.to_thread(space.replace, path, b"x")
    for path in (".vscode-notes", ".envrc.example", "plain/.envrc", "plain/.vscode/x"):
        space.replace(path, b"x")
        assert (space.root / path).read_bytes() == b"x"
    Workspace(space.root).replace(".envrc", b"x")  # where nothing is protected


@pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")
async def test_a_run_in_a_sandbox_neither_writes_nor_brings_back_what_is_protected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    turns = [
        Turn(calls=[Call("write", {"path": ".envrc", "content": "x"}), Call("write", {"path": "ok", "content": "x"})]),
        Turn(text="done"),
    ]
    async with ScriptedModelServer(turns) as server, Runtime.open("memory:", sandbox="native") as runtime:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        agent = Agent("openai/gpt-5-mini", tools=[BUILTIN["write"]])
        run = await runtime.start(agent, "job", session="s", workspace=folder)
        await run.result()
        assert names(folder) == ["ok"]
        await runtime.fork("s", name="f", workspace=tmp_path / "branch")
        for name in (".envrc", "fine"):
            (tmp_path / "branch" / name).write_text("x")
        with pytest.raises(SandboxError, match=r"'\.envrc' is protected"):
            await runtime.commit("f")
        assert [each.path for each in await runtime.commit("f", ["fine"])] == ["fine"]
        assert names(folder) == ["fine", "ok"]
