"""What a call is given to act through, by its tool's tier; and that looking starts no sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.sandboxing import children

from holdfast import Agent, Runtime
from holdfast.sandbox.backends.none import NoIsolation
from holdfast.testing import ScriptedModelServer, Turn
from holdfast.testing.scripts import Call
from holdfast.tools.binding import ToolContext
from holdfast.tools.builtin.table import BUILTIN
from holdfast.tools.declaring import tool
from holdfast.types import Mode

pytestmark = [
    pytest.mark.requirement("tools:tiers", "tools:tier-routing"),
    pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's"),
]
LOOKS = ("read", "grep", "glob", "ls")


@asynccontextmanager
async def opened(turns: list[Turn], monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Runtime]:
    async with ScriptedModelServer(turns) as server, Runtime.open("memory:", sandbox="native") as runtime:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        yield runtime


async def test_a_tool_that_says_nothing_has_the_sandbox_alone_to_run_programs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, ToolContext] = {}

    @tool
    async def silent(context: ToolContext) -> str:
        given["silent"] = context
        assert context.backend is not None
        env = {"PATH": "/usr/bin:/bin"}
        ended = await context.backend.run(["id", "-u"], folder=tmp_path, env=env, timeout=20, keep=1000)
        return ended.output.text()

    @tool(tier="direct")
    async def direct(context: ToolContext) -> str:
        given["direct"] = context
        return "x"

    @tool(tier="outside")
    async def outside(context: ToolContext) -> str:
        given["outside"] = context
        return "x"

    turns = [Turn(calls=[Call("silent", {}), Call("direct", {}), Call("outside", {})]), Turn("done")]
    async with opened(turns, monkeypatch) as runtime:
        agent = Agent("openai/gpt-5-mini", tools=[silent, direct, outside])
        run = await runtime.start(agent, "job", workspace=tmp_path)
        await run.result()
        assert (await runtime.posture()).backend == "native"
        inside = given["silent"].backend
        assert inside is not None
        assert inside.posture.backend == "native"
    assert given["direct"].backend is None
    assert isinstance(given["outside"].backend, NoIsolation)
    assert all(each.confined for each in given.values())


@pytest.mark.parametrize(("mode", "tools"), [("read-only", (*LOOKS, "write", "bash")), ("auto", LOOKS)])
async def test_a_run_that_only_looks_starts_no_sandbox(
    mode: Mode, tools: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.py").write_text("needle\n")
    started: list[str] = []
    popen = subprocess.Popen

    def noted(command: list[str], *rest: object, **options: object) -> object:
        started.append(" ".join(command))
        return popen(command, *rest, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", noted)
    calls = [
        Call("read", {"path": "a.py"}),
        Call("grep", {"pattern": "needle"}),
        Call("glob", {"pattern": "*"}),
        Call("ls", {}),
    ]
    before = set(children(os.getpid()))
    async with opened([Turn(calls=calls), Turn("done")], monkeypatch) as runtime:
        agent = Agent("openai/gpt-5-mini", tools=[BUILTIN[each] for each in tools])
        run = await runtime.start(agent, "job", workspace=tmp_path, mode=mode)
        result = await run.result()
        assert (result.status, result.steps) == ("completed", 2)
        assert set(children(os.getpid())) <= before
    # Only our own scanner was started: no launcher of sandboxes, and no ripgrep on what may be hostile.
    assert len(started) == 1
    assert "scanner" in started[0]
