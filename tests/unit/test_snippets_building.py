"""The interpreter for snippets is made once, whole, and by nobody else."""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from holdfast.errors import IsolationMissing, SandboxError
from holdfast.sandbox.snippets import building, wasm
from holdfast.sandbox.snippets.building import compiled
from holdfast.sandbox.snippets.codes import output_of
from holdfast.sandbox.snippets.telling import announce, listening
from holdfast.sandbox.snippets.wasm import WasmInterpreter

MAKE = """
import sys, time
from pathlib import Path
from holdfast.sandbox.snippets.building import compiled
folder = Path(sys.argv[1])
def compile_(wasm):
    with (folder / "made").open("a") as file:
        file.write("once\\n")
    time.sleep(0.2)  # the other one comes while this one is at it
    return wasm * 100_000
print("ready", flush=True)
sys.stdin.readline()
print(compiled(folder / "kept", folder / "component", compile_, lambda said: None).read_bytes() == b"wasm" * 100_000)
"""


@pytest.fixture
def component(tmp_path: Path) -> Path:
    file = tmp_path / "component"
    file.write_bytes(b"wasm")
    return file


class Compiler:
    """Counts, and turns code around."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, wasm: bytes) -> bytes:
        self.times += 1
        return wasm[::-1]


@pytest.mark.requirement("sandbox:snippets-built-once")
def test_it_is_compiled_once_and_told_about(tmp_path: Path, component: Path) -> None:
    compiler, told = Compiler(), list[str]()
    files = {compiled(tmp_path / "kept", component, compiler, told.append) for _ in range(3)}
    assert [file.read_bytes() for file in files] == [b"msaw"]
    assert compiler.times == 1
    assert len(told) == 1
    assert "compiling" in told[0]
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700


@pytest.mark.requirement("sandbox:snippets-built-once")
def test_other_parts_make_another_one(tmp_path: Path, component: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler()
    first = compiled(tmp_path / "kept", component, compiler, print)
    component.write_bytes(b"other")
    second = compiled(tmp_path / "kept", component, compiler, print)
    monkeypatch.setattr(building, "version_of", lambda package: "99")
    third = compiled(tmp_path / "kept", component, compiler, print)
    assert len({first, second, third}) == compiler.times == 3
    assert second.read_bytes() == b"rehto"


@pytest.mark.requirement("sandbox:snippets-built-once")
@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "unsigned", "signed by nobody"])
def test_a_damaged_one_is_made_anew(tmp_path: Path, component: Path, damage: str) -> None:
    compiler = Compiler()
    file = compiled(tmp_path / "kept", component, compiler, print)
    if damage == "cut":
        os.truncate(file, 2)
    elif damage == "changed":
        file.write_bytes(b"evil")
    elif damage == "gone":
        file.unlink()
    elif damage == "unsigned":
        file.with_suffix(".sha256").unlink()
    else:
        file.with_suffix(".sha256").write_bytes(b"\xff" * 64)
    assert compiled(tmp_path / "kept", component, compiler, print).read_bytes() == b"msaw"
    assert compiler.times == 2


@pytest.mark.requirement("sandbox:snippets-built-once")
def test_a_build_that_fails_leaves_nothing_and_the_next_one_is_tried(tmp_path: Path, component: Path) -> None:
    def fail(wasm: bytes) -> bytes:
        raise SandboxError("no")

    with pytest.raises(SandboxError, match="no"):
        compiled(tmp_path / "kept", component, fail, print)
    assert [file.suffix for file in (tmp_path / "kept").iterdir()] == [".lock"]
    assert compiled(tmp_path / "kept", component, Compiler(), print).read_bytes() == b"msaw"


@pytest.mark.requirement("sandbox:snippets-built-once")
def test_two_processes_that_want_it_at_once_make_one(tmp_path: Path, component: Path) -> None:
    def begin() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", MAKE, str(tmp_path)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    both = [begin(), begin()]
    for each in both:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda p=each: found.append(p.communicate("\n", timeout=30)[0])) for each in both
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["True\n", "True\n"]
    assert (tmp_path / "made").read_text() == "once\n"


@pytest.mark.requirement("sandbox:snippets-built-once")
def test_a_process_that_is_killed_over_it_leaves_nothing_behind(tmp_path: Path, component: Path) -> None:
    for spot in ("os.fsync", "Path.replace"):
        code = MAKE.replace("sys.stdin.readline()", f"import os\n{spot} = lambda *args: os.kill(os.getpid(), 9)")
        killed = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, timeout=30, check=False
        )
        assert killed.returncode == -9
    file = compiled(tmp_path / "kept", component, Compiler(), print)
    assert file.read_bytes() == b"msaw"
    assert {each.suffix for each in (tmp_path / "kept").iterdir()} == {".cwasm", ".sha256", ".lock"}


@pytest.mark.requirement("sandbox:snippets-built-once")
def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, component: Path) -> None:
    compiled(tmp_path / "kept", component, Compiler(), print)
    (tmp_path / "kept").chmod(0o777)  # also where what is in it looks whole
    with pytest.raises(SandboxError, match=r"can be written by others.*chmod go-w"):
        compiled(tmp_path / "kept", component, Compiler(), print)
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    with pytest.raises(SandboxError, match="can be written by others"):
        compiled(tmp_path / "link", component, Compiler(), print)
    (tmp_path / "file").write_text("")
    with pytest.raises(SandboxError, match="name another folder"):
        compiled(tmp_path / "file" / "below", component, Compiler(), print)


@pytest.mark.requirement("sandbox:snippets-extra")
def test_what_is_not_installed_is_named_with_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasm, "find_spec", lambda name: None)
    with pytest.raises(IsolationMissing, match=r"wasmtime.*pip install 'holdfast\[wasm\]'"):
        WasmInterpreter(tmp_path)
    monkeypatch.setattr(building.shutil, "which", lambda *args, **more: None)
    with pytest.raises(IsolationMissing, match=r"componentize-py.*pip install 'holdfast\[wasm\]'"):
        compiled(tmp_path / "kept", None, Compiler(), print)


@pytest.mark.requirement("sandbox:snippets-extra")
def test_importing_the_adapter_loads_no_wasmtime() -> None:
    code = "import sys, holdfast.sandbox.snippets.wasm; sys.exit('wasmtime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0


@pytest.mark.requirement("sandbox:snippets-built-once")
def test_whoever_waits_for_another_build_is_told_so(tmp_path: Path, component: Path) -> None:
    told = list[str]()
    file = compiled(tmp_path / "kept", component, Compiler(), print)
    file.unlink()
    with file.with_suffix(".lock").open("w") as lock:

        def tell(text: str) -> None:
            told.append(text)
            fcntl.flock(lock, fcntl.LOCK_UN)  # the other one is done, or was killed

        fcntl.flock(lock, fcntl.LOCK_EX)
        assert compiled(tmp_path / "kept", component, Compiler(), tell) == file
    assert "another process" in told[0]
    assert "compiling" in told[1]


async def test_what_takes_long_is_told_in_the_loop_to_those_who_listen_meanwhile() -> None:
    told, here = asyncio.Queue[tuple[str, bool]](), threading.get_ident()

    def show(text: str) -> None:
        told.put_nowait((text, threading.get_ident() == here))

    with listening(show):
        await asyncio.to_thread(announce, "one")
        assert await told.get() == ("one", True)
    await asyncio.to_thread(announce, "two")
    assert told.empty()


def test_a_compiler_is_given_its_input_and_killed_when_its_time_is_over() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        output_of([sys.executable, "-c", "import time\nwhile True: time.sleep(9)"], seconds=0.2)
    done = output_of([sys.executable, "-c", "print(input()); exit(3)"], given=b"x\n", seconds=60)
    assert (done.stdout, done.returncode) == (b"x\n", 3)


@pytest.mark.requirement("sandbox:snippets-built-once")
def test_a_compiler_does_not_outlive_its_process(tmp_path: Path) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    inner = f"import time\nf = open({str(fifo)!r}, 'w')\nf.write('x')\nf.flush()\nwhile True: time.sleep(9)"
    code = "import sys\nfrom holdfast.sandbox.snippets.codes import output_of\n"
    code += f"output_of([sys.executable, '-c', {inner!r}], seconds=600)"
    with subprocess.Popen([sys.executable, "-c", code]) as process, fifo.open() as alive:
        assert alive.read(1) == "x"
        process.kill()
        assert alive.read() == "", "it ends when the compiler does"
