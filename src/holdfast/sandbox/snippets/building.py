"""Makes the interpreter, once for each user and version: CPython with `guest.py` in it, as machine code in a folder.

It takes half a minute of two processors; then it is there for all processes of the user (`codes.py`).
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from holdfast.errors import IsolationMissing, SandboxError
from holdfast.sandbox.snippets.codes import kept, output_of, version_of

__all__ = ("INSTALL", "Progress", "compiled")

Progress = Callable[[str], None]
"""Is told what takes long, in a sentence; from another thread than the event loop's."""

INSTALL = "install it with `pip install 'holdfast[wasm]'`"

_WORLD = """\
package holdfast:snippets;

world interpreter {
  import send: func(text: string);
  import call: func(name: string, arguments: string) -> string;
  export answer: func(request: string) -> string;
}
"""
_APP = """\
import random

import snippet_guest
import wit_world

seed = random.seed
random.seed = lambda *args: setattr(random, "seed", seed)  # the seed comes with the request


class WitWorld(wit_world.WitWorld):
    def answer(self, request):
        return snippet_guest.answer(request, wit_world.send, wit_world.call)


snippet_guest.preload()
"""
_PATIENCE = 600
"""Seconds a build may take."""
_WAITS = "another process is preparing the Python interpreter: waiting for it"


def compiled(
    folder: Path,
    component: Path | None,
    compile_: Callable[[bytes], bytes],
    progress: Progress,
    *,
    anew: bool = False,
) -> Path:
    """Returns the file with the machine code, and makes it where it is missing, damaged, or wanted `anew`.

    `component` is one that was built elsewhere by the same version of Holdfast; without it, it is built here.

    Raises:
        IsolationMissing: it has to be built here, and componentize-py is not installed.
        SandboxError: it cannot be built, or the folder is not the user's own.
    """
    file = folder / f"interpreter-{_key(component)}.cwasm"

    def made() -> bytes:
        wasm = component.read_bytes() if component else _build(file.with_suffix(".build"), progress)
        progress("preparing the Python interpreter, once: compiling it for this processor takes some twenty seconds")
        return compile_(wasm)

    try:
        return kept(file, made, anew=anew, waiting=lambda: progress(_WAITS))
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxError(
            f"the interpreter for snippets cannot be made in {str(folder)!r} ({error}): name another folder"
        ) from error


def _key(component: Path | None) -> str:
    """Returns a name for what would come out: other parts, another name."""
    made = hashlib.sha256(component.read_bytes()).hexdigest() if component else version_of("componentize-py") or ""
    parts = (made, version_of("wasmtime") or "", platform.machine(), sys.platform, _WORLD, _APP, _guest())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _guest() -> str:
    return resources.files(__package__ or "").joinpath("guest.py").read_text("utf-8")


def _build(folder: Path, progress: Progress) -> bytes:
    program = shutil.which("componentize-py", path=str(Path(sys.executable).parent)) or shutil.which("componentize-py")
    if program is None:
        raise IsolationMissing(f"snippets need componentize-py to build their interpreter once: {INSTALL}")
    progress("preparing the Python interpreter, once: building it takes some twenty seconds")
    shutil.rmtree(folder, ignore_errors=True)  # a killed process left it
    try:
        (folder / "app").mkdir(parents=True)
        (folder / "tmp").mkdir()
        (folder / "interpreter.wit").write_text(_WORLD, "utf-8")
        (folder / "app" / "app.py").write_text(_APP, "utf-8")
        (folder / "app" / "snippet_guest.py").write_text(_guest(), "utf-8")
        world = ("-d", "interpreter.wit", "-w", "interpreter")
        command = [program, *world, "componentize", "-p", "app", "-o", "out", "app"]
        # Without a PATH it finds no other Python, whose packages it would take in; what it leaves when it is killed is
        # removed by the next one.
        env = {"PATH": "/nonexistent", "TMPDIR": str((folder / "tmp").absolute())}
        done = output_of(command, seconds=_PATIENCE, folder=folder, env=env)
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace")[-2000:]
            raise SandboxError(f"componentize-py could not build the interpreter for snippets: {said}")
        return (folder / "out").read_bytes()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
