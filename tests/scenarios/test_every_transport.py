"""Agents with a tool of each kind that stands elsewhere: here, and in a process that has nothing but the store."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.far_tools import KINDS, Far, module_of
from tests.running import MODEL, HastyClock, Scene, all_answered, asked, of, scene, seen, soon, until

from holdfast import Agent
from holdfast.engine.events import ToolFinished, ToolWaiting, WaitResolved
from holdfast.sandbox.policy.profile import Ceiling, Profile
from holdfast.testing import Call, Turn
from holdfast.testing.conformance.transports.peer import FAILURE
from holdfast.tools.elsewhere.manifests.loading import load_tools
from holdfast.tools.resolving import find_tool
from holdfast.types import Event, ToolError, stream_id

TOOLS = ("works", "fails", "works_too", "fails_too")
CALLS = Turn(calls=[Call(name, {"text": "hello"}) for name in TOOLS])
ASKS = Turn(calls=[Call("question", {"questions": [{"question": "Shall I?"}]})])
WORKER = """
import asyncio, sys
from tests.running import HastyClock
from holdfast import Runtime
from holdfast.sandbox.policy.profile import Ceiling, Profile

async def work(url, backend, programs):
    profile = Profile(backend=backend, tools=Ceiling(programs=tuple(programs)))
    async with Runtime.open(url, clock=HastyClock(), sandbox=profile) as runtime:
        run = await runtime.resume("s")
        assert runtime._worker.has("local/s"), "somebody else drives it"
        print((await run.result()).output)

asyncio.run(work(sys.argv[1], sys.argv[2], sys.argv[3:]))
"""


def profile_for(kind: str, far: Far) -> Profile:
    if kind in ("cli-sandbox", "container") and shutil.which("bwrap") is None:
        pytest.skip("there is no bubblewrap here")
    backend: Any = "bubblewrap" if kind == "cli-sandbox" else "none"
    return Profile(backend=backend, tools=Ceiling(programs=(far.program,) if far.program else ()))


def told_in(log: list[Event], calls: list[str]) -> dict[str, tuple[str, ToolError | None]]:
    """Returns what each call of the last turn but one came to, by its tool."""
    waits = {each.wait.token: str(each.call_id) for each in of(ToolWaiting, log)}
    found = {str(each.call_id): (each.result.content, each.result.error) for each in of(ToolFinished, log)}
    found |= {waits[each.token]: (each.content or "", each.error) for each in of(WaitResolved, log)}
    return dict(zip(TOOLS, [found[each] for each in calls], strict=True))


def check(log: list[Event], s: Scene) -> None:
    (calls,) = [
        [each["id"] for each in message["tool_calls"]]
        for message in asked(s.server)[-1]
        if len(message.get("tool_calls") or ()) == len(TOOLS)
    ]
    came_to = told_in(log, calls)
    for name in ("works", "works_too"):
        assert came_to[name] == ("hello", None)
    for name in ("fails", "fails_too"):
        content, error = came_to[name]
        assert error is not None
        assert (error.code, error.reason, FAILURE in content) == ("execution_failed", "tool_backend_failure", True)
    read = [each["content"] for each in asked(s.server)[-1] if each["role"] == "tool"][-4:]
    assert read == [came_to[name][0] for name in TOOLS]
    assert all_answered(log)


async def bring(s: Scene, far: Far) -> None:
    """Brings what the peer would bring to a server, until nobody waits for it any more."""
    brought = far.peer._brought
    done: set[str] = set()
    while len(done) < len(TOOLS):
        for token in [each for each in brought if each not in done]:
            done.add(token)
            receipt = await s.runtime.bring_answer(token, await brought[token])
            assert receipt.status == "accepted"
        await asyncio.sleep(0)


@pytest.mark.requirement("tools:every-transport")
@pytest.mark.requirement("declaring:decorator")
@pytest.mark.requirement("declaring:manifests")
@pytest.mark.parametrize("kind", KINDS)
async def test_an_agent_calls_tools_of_each_kind(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with KINDS[kind]() as far:
        tools = declared(far, tmp_path, monkeypatch)
        sandbox = profile_for(kind, far)
        async with scene([CALLS, "done"], clock=HastyClock(), sandbox=sandbox, seconds=60) as s:
            run = await s.runtime.start(Agent(MODEL, tools=tools), "go", session="s", workspace=workspace(tmp_path))
            if kind == "callback-pushed":
                await soon(bring(s, far), 20)
            assert (await soon(run.result(), 40)).output == "done"
            check(await s.log(), s)


@pytest.mark.requirement("tools:every-transport")
@pytest.mark.requirement("declaring:found-again")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_worker_that_runs_alone_finds_and_calls_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    async with KINDS[kind]() as far:
        tools = [find_tool("builtin:question"), *declared(far, tmp_path, monkeypatch)]
        sandbox = profile_for(kind, far)
        async with scene([ASKS, CALLS, "done"], url=url, sandbox=sandbox, seconds=90) as s:
            async with s.other() as first:
                run = await first.start(Agent(MODEL, tools=tools), "go", session="s", workspace=workspace(tmp_path))
                waiting = (await soon(seen(run, "tool.waiting"))).data
                assert isinstance(waiting, ToolWaiting)
                await until(lambda: first._worker.tail(stream_id("local", "s")) is None)
            await s.runtime.session("s").reply(waiting.wait.token, ["yes"])
            command = [sys.executable, "-W", "error::ResourceWarning", "-c", WORKER, url, sandbox.backend, far.program]
            worker = await asyncio.create_subprocess_exec(
                *[each for each in command if each],
                env={**os.environ, "PYTHONPATH": f"{Path.cwd()}:{tmp_path}"},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            bringing = asyncio.create_task(bring(s, far)) if kind == "callback-pushed" else None
            out, errors = await soon(worker.communicate(), 60)
            assert out.decode().strip() == "done", errors.decode()
            assert not errors
            if bringing is not None:
                await bringing
            check(await s.log(), s)


def declared(far: Far, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    module = module_of(folder)
    file = far.write(folder, module)
    if far.peer is not None and hasattr(far.peer, "_folder"):
        for each in Path(far.peer._folder.name).glob("*.wasm"):
            shutil.copy(each, folder)
    monkeypatch.syspath_prepend(folder)
    with suppress(KeyError):
        del sys.modules[module]
    return [find_tool(f"{module}:works"), find_tool(f"{module}:fails"), *load_tools(file)]


def workspace(folder: Path) -> Path:
    (folder / "work").mkdir()
    return folder / "work"
