"""Python that a model wrote: what it answers, and that nothing of it gets out or stays, in either engine."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, of, scene, soon, until

from holdfast import Agent
from holdfast.engine.events import ToolFinished
from holdfast.errors import IsolationMissing
from holdfast.sandbox.backends.choosing import LazyBackend
from holdfast.sandbox.backends.none import NoIsolation
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.port import Backend
from holdfast.sandbox.snippets.port import SnippetResult
from holdfast.sandbox.snippets.wasm import WasmInterpreter
from holdfast.sandbox.workspace import Workspace
from holdfast.testing import Call, Turn
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.running.python import python as built_in
from holdfast.tools.builtin.running.python import python_tool
from holdfast.types import CallId, Effect, StreamId, ToolResult

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")


class Missing:
    """An interpreter that cannot be had."""

    async def run(self, code: str, **more: Any) -> SnippetResult:
        raise IsolationMissing("snippets need wasmtime: install it")


class Stage:
    def __init__(self, tool: Any, backend: Backend | None, folder: Path, engine: str) -> None:
        self.tool, self.backend, self.folder, self.engine = tool, backend, folder, engine
        self.temporary = folder.parent / "temporary"

    async def use(self, code: str, **more: Any) -> ToolResult:
        context = ToolContext(
            call_id=CallId("c"),
            stream=StreamId("local/s"),
            key="k",
            backend=self.backend,
            workspace=Workspace(self.folder),
        )
        result = await self.tool.run(self.tool.parse(json.dumps({"code": code, **more}).encode()), context)
        assert isinstance(result, ToolResult)
        return result

    async def fail(self, code: str, **more: Any) -> ToolFailure:
        with pytest.raises(ToolFailure) as caught:
            await self.use(code, **more)
        return caught.value


@pytest.fixture(params=["wasm", "native"])
async def stage(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    folder = tmp_path / "workspace"
    for each in (folder, tmp_path / "temporary"):
        each.mkdir()
    (folder / "secret.txt").write_text("workspace")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    if request.param == "wasm":
        yield Stage(python_tool(request.getfixturevalue("python")), None, folder, "wasm")
        return
    backend = LazyBackend(Profile(backend="native"))
    yield Stage(python_tool(Missing()), backend, folder, "native")
    await backend.close()


@pytest.mark.requirement("knowing:python-answers")
@pytest.mark.parametrize(
    ("code", "content"),
    [
        ("1 + 1", "=> 2"),
        ("print('hé')\n{1, 2}", "hé\n=> {1, 2}"),
        ("print('a', end='')\n'b'", "a\n=> 'b'"),
        ("x = 5", "[nothing was printed, and the last line has no value]"),
        ("print('only')", "only\n"),
        ("def f(n):\n    return n and n * f(n - 1) or 1\nf(20)", "=> 2432902008176640000"),
        ("import sys; sys.exit()", "[nothing was printed, and the last line has no value]"),
        ("'\\ud800'", "=> '\\ud800'"),
        ("float('nan'), b'\\0'", "=> (nan, b'\\x00')"),
        ("import sys; print(1); sys.stdout = None; 5", "1\n=> 5"),
        ("import json; json.dumps(inputs) if 'inputs' in dir() else 'clean'", "=> 'clean'"),
    ],
)
async def test_a_program_gives_what_it_printed_and_the_value_of_its_last_line(
    stage: Stage, code: str, content: str
) -> None:
    result = await stage.use(code)
    assert result.content == content
    assert (result.metadata["ui"], result.metadata["engine"]) == ("terminal", stage.engine)


@pytest.mark.requirement("knowing:python-answers")
@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("print('before')\ndef f(x):\n    return 1 / x\n\nf(0)", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt('now')", "KeyboardInterrupt: now"),
        ("def f(n): return f(n + 1)\nf(0)", "RecursionError: maximum recursion depth exceeded"),
        ("class A:\n    def __repr__(self):\n        raise ValueError('no')\nA()", "ValueError: no"),
    ],
)
async def test_a_program_that_fails_gives_its_own_traceback_and_nothing_of_ours(
    stage: Stage, code: str, end: str
) -> None:
    error = await stage.fail(code)
    assert str(error).rstrip().endswith(end)
    assert error.code == "execution_failed"
    assert "_run" not in str(error)
    assert code.startswith("print") == str(error).startswith("before\nTraceback")


@pytest.mark.requirement("knowing:python-fresh")
async def test_nothing_of_one_program_is_there_for_the_next_and_none_sees_the_workspace(stage: Stage) -> None:
    await stage.use("import builtins, math\nbuiltins.left = 1\nmath.pi = 3")
    assert (await stage.use("import builtins, math\nhasattr(builtins, 'left'), math.pi")).content.startswith(
        "=> (False"
    )
    look = f"import os\n[os.path.exists(each) for each in ('secret.txt', {str(stage.folder / 'secret.txt')!r})]"
    assert (await stage.use(look)).content == "=> [False, False]"
    put = "try:\n    with open('put', 'w') as f:\n        f.write('x')\nexcept OSError:\n    pass"
    await stage.use(put)
    assert (await stage.use("import os\nos.path.exists('put')")).content == "=> False"
    assert [each.name for each in stage.folder.iterdir()] == ["secret.txt"]
    assert not list(stage.temporary.iterdir())


@pytest.mark.requirement("knowing:python-fresh")
async def test_a_program_reaches_no_network_and_none_of_our_environment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_TEST_KEY", "hidden")
    listening = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1")
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        await stage.fail(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)")
    assert (await stage.use("import os\n'HOLDFAST_TEST_KEY' in os.environ")).content == "=> False"


@pytest.mark.requirement("knowing:python-limits")
@pytest.mark.parametrize(
    ("code", "breach", "code_of_error"),
    [
        ("print('on')\nwhile True: pass", ("wall", "cpu"), ("timeout", "quota")),
        ("x = 'x' * 10**9", ("memory",), ("quota",)),
        ("print('y' * 10**6)", ("output",), ("quota",)),
        ("while True: print('z' * 1000)", ("output", "wall"), ("quota", "timeout")),
    ],
)
async def test_a_program_that_is_over_a_limit_ends_by_its_name(
    stage: Stage, code: str, breach: tuple[str, ...], code_of_error: tuple[str, ...]
) -> None:
    error = await stage.fail(code, timeout=1)
    assert error.metadata["breach"] in breach
    assert error.code in code_of_error
    assert f"stopped at the limit of {error.metadata['breach']}" in str(error)
    assert len(str(error)) < 300_000


@pytest.mark.requirement("knowing:python-limits")
async def test_a_long_value_is_cut_and_code_that_is_none_is_refused(stage: Stage) -> None:
    assert len((await stage.use("'é' * 10**5")).content) < 10_100
    for code in (" \n", "1\0", "é" * 60_000):
        error = await stage.fail(code)
        assert error.code == "invalid_input"


@pytest.mark.requirement("knowing:python-limits")
async def test_a_program_that_lies_about_itself_or_leaves_at_once_is_a_failure_or_a_wrong_answer(stage: Stage) -> None:
    assert "Traceback" not in str(await stage.fail("import os; os._exit(4)"))
    for lie in ("{}", '{"value": 1}', "[]", "nonsense", '{"ended": "ok", "answer": 5}'):
        try:
            await stage.use(f"import json\njson.dumps = lambda *a, **k: {lie!r}\n7")
        except ToolFailure as error:
            assert error.code == "execution_failed"


@pytest.mark.requirement("knowing:python-limits")
async def test_a_program_whose_caller_is_gone_ends_and_leaves_no_folder(stage: Stage) -> None:
    await stage.use("1")
    running = asyncio.ensure_future(stage.use("while True: pass", timeout=60))
    if stage.engine == "native":
        await until(lambda: any(stage.temporary.iterdir()))
    else:
        await until(lambda: threading.active_count() > 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not list(stage.temporary.iterdir())
    assert (await stage.use("2")).content == "=> 2"


@pytest.mark.requirement("knowing:python-never-bare")
@pytest.mark.parametrize("backend", [None, NoIsolation()])
async def test_where_nothing_keeps_it_in_it_is_not_run_and_says_what_to_install(
    backend: Backend | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **more: Any) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    result = await Stage(python_tool(Missing()), backend, tmp_path, "none").use("1 + 1")
    assert result.error is not None
    assert (result.error.code, result.error.reason) == ("isolation_unavailable", "tool_isolation_unavailable")
    assert "pip install 'holdfast[wasm]'" in result.content


@pytest.mark.requirement("knowing:python-answers", "knowing:python-fresh")
async def test_a_run_has_it_by_its_name_and_without_a_workspace(
    python: WasmInterpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.sandbox.snippets.shared.shared_interpreter", lambda purpose: python)
    async with scene([Turn(calls=[Call("python", {"code": "sum(range(10))"})]), "done"]) as s:
        agent = Agent(MODEL, tools=["python"])
        assert (
            await soon((await s.runtime.start(agent, "go", session="s", mode="read-only")).result())
        ).output == "done"
        (result,) = [each.result for each in of(ToolFinished, await s.log())]
    assert result.content == "=> 45"
    assert (built_in.spec.effect, built_in.tier) == (Effect(False, "none"), "inside")
