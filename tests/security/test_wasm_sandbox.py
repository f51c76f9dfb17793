"""Commands that are Python snippets, in interpreters with no system calls: what runs, what not, and what it meets."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast.errors import IsolationMissing, SandboxError
from holdfast.sandbox.backends.choosing import AUTO, open_backend
from holdfast.sandbox.environment import OWNER
from holdfast.sandbox.policy.profile import Profile, Quotas, Tree
from holdfast.sandbox.port import Backend
from holdfast.sandbox.processes import Ended
from holdfast.sandbox.snippets.backend import WasmSnippets
from holdfast.sandbox.snippets.commands import snippet_of
from holdfast.testing.conformance.backends import isolating
from holdfast.testing.conformance.backends import running as kit


class Stage:
    def __init__(self, backend: Backend, folder: Path) -> None:
        self.backend, self.folder = backend, folder

    def again(self) -> Backend:
        return self.backend


@pytest.fixture
async def stage(snippets_folder: Path, tmp_path: Path) -> AsyncIterator[Stage]:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    made = Stage(await WasmSnippets.open(Profile(), snippets_folder), workspace)
    yield made
    await made.backend.close()


async def run(stage: Stage, *command: str, keep: int = 1 << 16, errors: bool = True, seconds: float = 20) -> Ended:
    env = {"PATH": "/usr/bin", "GIVEN": "é\nx", OWNER: "me#1"}
    return await stage.backend.run(command, folder=stage.folder, env=env, timeout=seconds, keep=keep, errors=errors)


async def says(stage: Stage, code: str) -> str:
    ended = await run(stage, "python", "-c", code)
    assert ended.code == 0, ended.output.text()
    return ended.output.raw().decode()


SUITS = (kit.a_folder_that_is_not_there_is_an_error, kit.the_posture_is_true_and_stays)
"""Checks of the kit that are not made of lines for a shell."""
ISOLATED = (isolating.it_says_that_it_is_isolated,)


@pytest.mark.requirement("sandbox:wasm-runs-snippets")
@pytest.mark.parametrize("check", (*SUITS, *ISOLATED), ids=lambda check: check.__name__)
async def test_what_of_the_kit_takes_no_shell(check: kit.Check, stage: Stage) -> None:
    if check is kit.a_folder_that_is_not_there_is_an_error:
        with pytest.raises(SandboxError, match="nowhere"):
            await stage.backend.run("python -c 1", folder=stage.folder / "nowhere", env={}, timeout=9, keep=9)
    else:
        await check(stage)


@pytest.mark.requirement("sandbox:wasm-runs-snippets")
async def test_a_program_has_arguments_variables_an_exit_code_and_both_streams_as_python_gives_them(
    stage: Stage,
) -> None:
    assert await says(stage, "print(6*7)") == "42\n"
    told = (
        "import sys, os; print(sys.argv, dict(os.environ)['GIVEN'], len(os.environ), repr(sys.stdin.read()), __name__)"
    )
    ended = await run(stage, "/usr/bin/python3.11", "-I", "-c", told, "a b", "-x")
    assert ended.output.raw().decode() == "['-c', 'a b', '-x'] é\nx 3 '' __main__\n"
    for code, exit_code, printed in (
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('why')", 1, "why\n"),
        ("1", 0, ""),
        ("raise SystemExit", 0, ""),
        ("print('\\x1b[1m')", 0, "\x1b[1m\n"),
    ):
        ended = await run(stage, "python3", "-c", code)
        assert (ended.code, ended.output.raw().decode(), ended.breach) == (exit_code, printed, None)
    ended = await run(stage, "python3", "-c", "def f():\n    1 / 0\nf()")
    text = ended.output.text()
    assert ended.code == 1
    assert text.startswith("Traceback")
    assert text.endswith("ZeroDivisionError: division by zero\n")
    assert "_run" not in text
    noisy = "import sys; print('out'); print('err', file=sys.stderr)"
    assert (await run(stage, "python3", "-c", noisy)).output.text() == "out\nerr\n"
    assert (await run(stage, "python3", "-c", noisy, errors=False)).output.text() == "out\n"
    assert (await run(stage, "python3", "-c", "print('x' * 99)", keep=10)).output.omitted == 90


@pytest.mark.requirement("sandbox:wasm-runs-snippets")
async def test_a_file_of_the_workspace_runs_and_one_outside_does_not(stage: Stage) -> None:
    (stage.folder / "d").mkdir()
    (stage.folder / "d/p.py").write_text("import sys\nprint(sys.argv, __name__)\nraise KeyError('né')\n")
    (stage.folder.parent / "outside.py").write_text("print('outside')")
    (stage.folder / "link.py").symlink_to(stage.folder.parent / "outside.py")
    for path in ("d/p.py", f"{stage.folder}/d/p.py"):
        ended = await run(stage, "python", path, "1")
        assert ended.code == 1
        assert ended.output.text().startswith(f"['{path}', '1'] __main__\nTraceback")
        assert "raise KeyError('né')" in ended.output.text()
    for path in ("../outside.py", "link.py", f"{stage.folder.parent}/outside.py", "missing.py", "d"):
        with pytest.raises(SandboxError, match="of the workspace"):
            await run(stage, "python", path)


@pytest.mark.requirement("sandbox:wasm-runs-snippets")
@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("python -c 'print(6*7)'", "42\n"),
        ('python3 -c "print(1)\nprint(2 > 1)"', "1\nTrue\n"),
        ("  python p.py x ", "x\n"),
    ],
)
async def test_a_line_that_needs_no_shell_runs(line: str, printed: str, stage: Stage) -> None:
    (stage.folder / "p.py").write_text("import sys; print(sys.argv[1])")
    ended = await stage.backend.run(line, folder=stage.folder, env={}, timeout=20, keep=100)
    assert (ended.code, ended.output.text()) == (0, printed)


@pytest.mark.requirement("sandbox:wasm-runs-snippets")
@pytest.mark.parametrize("line", ["python -c 1{};", "python -c '{}x'", "python -c '{}"], ids=["blanks", "long", "open"])
def test_how_long_it_takes_to_read_a_line_grows_as_the_line_does(line: str) -> None:
    begun = time.process_time()
    with suppress(SandboxError):
        snippet_of(line.format(" " * 1_000_000))
    assert time.process_time() - begun < 3  # what is tried twice takes minutes


@pytest.mark.requirement("sandbox:wasm-runs-snippets")
@pytest.mark.parametrize(
    "command",
    [
        "ls",
        "python",
        "python -",
        "python -m http.server",
        "python -i -c 1",
        "python - <<EOF\nprint(1)\nEOF",
        "python -c 'print(1)' | cat",
        "python -c 'print(1)'; ls",
        "cd d && python p.py",
        'python -c "print($HOME)"',
        "python -c 'print(1)' > f",
        "X=1 python p.py",
        "python *.py",
        "python 'p.py",
        "",
        ["node", "-e", "1"],
        [],
    ],
)
async def test_anything_else_is_refused_in_words(command: str | list[str], stage: Stage) -> None:
    with pytest.raises(
        SandboxError, match=r"runs Python snippets only: python -c '\.\.\.' or python file\.py; use native"
    ):
        await stage.backend.run(command, folder=stage.folder, env={}, timeout=20, keep=100)


@pytest.mark.requirement("sandbox:wasm-reaches-nothing")
@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd').read()",
        "open('p.py').read()",
        "open('new', 'w')",
        "import os; os.listdir('/')",
        "import os; os.unlink('p.py')",
        "import os; os.kill(1, 0)",
        "import os; os.fork()",
        "import subprocess; subprocess.run(['true'])",
        "import socket; socket.socket()",
        "import ctypes; ctypes.CDLL(None)",
        "import os; os.open('/proc/self/environ', 0)",
        "import threading; threading.Thread(target=print).start()",
        "import time; time.sleep(9)",
    ],
)
async def test_nothing_outside_can_be_asked_for(code: str, stage: Stage) -> None:
    (stage.folder / "p.py").write_text("mine")
    before = (stage.folder / "p.py").stat()
    ended = await run(stage, "python", "-c", f"{code}\nprint('re' + 'ached')")
    assert ended.code == 1
    assert "reached" not in ended.output.text()
    after = (stage.folder / "p.py").stat()
    assert [each.name for each in stage.folder.iterdir()] == ["p.py"]
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


@pytest.mark.requirement("sandbox:wasm-reaches-nothing")
async def test_one_snippet_leaves_nothing_to_the_next(stage: Stage) -> None:
    await says(stage, "import sys, os, builtins; builtins.left = sys.left = 1; os.environ['LEFT'] = 'x'")
    assert await says(
        stage, "import sys, os; print(hasattr(sys, 'left'), 'LEFT' in os.environ, 'left' in dir(__builtins__))"
    ) == ("False False False\n")


@pytest.mark.requirement("sandbox:wasm-quotas")
@pytest.mark.parametrize(
    ("quotas", "code", "breach", "exit_code"),
    [
        (Quotas(memory=96 * 1024**2), "x = bytearray(200 << 20)", "memory", 137),
        (Quotas(cpu=0.2), "while True: pass", "cpu", 152),
        (Quotas(wall=0.5), "while True: pass", "wall", 124),
        (Quotas(output=5000), "while True: print('x' * 99)", "output", 137),
    ],
)
async def test_a_snippet_that_uses_too_much_ends_and_says_what_of(
    quotas: Quotas, code: str, breach: str, exit_code: int, snippets_folder: Path, tmp_path: Path
) -> None:
    stage = Stage(await WasmSnippets.open(Profile(limits=quotas), snippets_folder), tmp_path)
    ended = await run(stage, "python", "-c", code)
    assert (ended.breach, ended.code, ended.timed_out) == (breach, exit_code, breach == "wall")
    assert ended.seconds < 15
    assert await says(stage, "print('fine')") == "fine\n"
    await stage.backend.close()


@pytest.mark.requirement("sandbox:wasm-quotas")
async def test_the_callers_time_a_cancelled_caller_and_a_newer_owner_end_a_snippet(stage: Stage) -> None:
    ended = await run(stage, "python", "-c", "print('begun')\nwhile True: pass", seconds=0.5)
    assert (ended.code, ended.timed_out, ended.breach) == (124, True, None)
    assert ended.output.text().startswith("begun\n")
    going = asyncio.create_task(run(stage, "python", "-c", "while True: pass"))
    await asyncio.sleep(0)
    going.cancel()
    await asyncio.wait((going,), timeout=5)
    assert going.cancelled()
    going = asyncio.create_task(run(stage, "python", "-c", "while True: pass"))
    async with asyncio.timeout(5):
        while not await stage.backend.attach("me", 2):
            assert await stage.backend.attach("me", 1) == await stage.backend.attach("other", 2) == 0
            await asyncio.sleep(0)
    assert (await asyncio.wait_for(going, 5)).code == 137


@pytest.mark.requirement("sandbox:wasm-fails-closed")
async def test_what_it_lacks_is_refused_and_auto_never_takes_it(
    snippets_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "wasm" not in AUTO
    for profile, why in (
        (Profile(require=("own-uid",)), "own-uid"),
        (Profile(workspace=Tree(apply="when-ended")), "layers"),
    ):
        with pytest.raises(IsolationMissing, match=why):
            await WasmSnippets.open(profile, snippets_folder)
    asked = Profile(require=("own-kernel", "netns", "private-root", "cgroup.memory"))
    await (await WasmSnippets.open(asked, snippets_folder)).close()
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    monkeypatch.setattr("holdfast.sandbox.snippets.wasm.find_spec", lambda *_: None)
    with pytest.raises(IsolationMissing, match=r"pip install 'holdfast\[wasm\]'"):
        await open_backend(Profile(backend="wasm"))


@pytest.mark.requirement("sandbox:wasm-runs-snippets")
def test_the_command_line_runs_a_snippet(snippets_folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache/holdfast/interpreter"
    cache.mkdir(mode=0o700, parents=True)
    for each in snippets_folder.glob("interpreter-*"):
        shutil.copyfile(each, cache / each.name)
    command = [
        sys.executable,
        "-m",
        "holdfast",
        "sandbox",
        "run",
        "--sandbox",
        "wasm",
        "--",
        "python",
        "-c",
        "print(6*7)",
    ]
    env = {"PATH": os.defpath, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    command[-3:] = ["ls"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "use native for programs" in done.stderr
