"""Makes the interpreter, once for each user and version: CPython with `guest.py` in it, as machine code in a folder.

It takes half a minute of two processors; then it is there for all processes of the user. Whoever comes meanwhile waits
at a lock on a file. What is in the folder is code that we run, so the folder belongs to the user alone, and a file is
used only when it is what was once written: its digest stands beside it. A file comes into being as a whole or not at
all, and one that is damaged is made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import metadata, resources
from pathlib import Path

from holdfast.errors import IsolationMissing, SandboxError

__all__ = ("INSTALL", "Progress", "compiled", "version_of")

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


def version_of(package: str) -> str | None:
    """Returns the version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


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
    try:
        _make_private(folder)
        file = folder / f"interpreter-{_key(component)}.cwasm"
        if not anew and _is_whole(file):
            return file
        with _locked(file.with_suffix(".lock")):
            if anew or not _is_whole(file):  # else somebody was quicker
                wasm = component.read_bytes() if component else _build(file.with_suffix(".build"), progress)
                progress("compiling the interpreter for snippets for this processor, which takes some ten seconds")
                code = compile_(wasm)
                _write(file, code)
                _write(file.with_suffix(".sha256"), hashlib.sha256(code).hexdigest().encode())
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxError(
            f"the interpreter for snippets cannot be made in {str(folder)!r} ({error}): name another folder"
        ) from error
    return file


def _key(component: Path | None) -> str:
    """Returns a name for what would come out: other parts, another name."""
    made = hashlib.sha256(component.read_bytes()).hexdigest() if component else version_of("componentize-py") or ""
    parts = (made, version_of("wasmtime") or "", platform.machine(), sys.platform, _WORLD, _APP, _guest())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _guest() -> str:
    return resources.files(__package__ or "").joinpath("guest.py").read_text("utf-8")


def _is_whole(file: Path) -> bool:
    try:
        said = file.with_suffix(".sha256").read_text("ascii")
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == said
    except (OSError, ValueError):
        return False


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise SandboxError(
            f"{str(folder)!r} can be written by others, and what is in it is run as code: "
            "make it yours alone (`chmod go-w`), or name another folder"
        )


@contextmanager
def _locked(file: Path) -> Generator[None, None, None]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(file: Path, data: bytes) -> None:
    new = file.with_suffix(".new")  # one that a killed process left is overwritten
    with new.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)


def _build(folder: Path, progress: Progress) -> bytes:
    program = shutil.which("componentize-py", path=str(Path(sys.executable).parent)) or shutil.which("componentize-py")
    if program is None:
        raise IsolationMissing(f"snippets need componentize-py to build their interpreter once: {INSTALL}")
    progress("building the interpreter for snippets, once, which takes some ten seconds")
    shutil.rmtree(folder, ignore_errors=True)  # a killed process left it
    try:
        (folder / "app").mkdir(parents=True)
        (folder / "interpreter.wit").write_text(_WORLD, "utf-8")
        (folder / "app" / "app.py").write_text(_APP, "utf-8")
        (folder / "app" / "snippet_guest.py").write_text(_guest(), "utf-8")
        world = ("-d", "interpreter.wit", "-w", "interpreter")
        command = [program, *world, "componentize", "-p", "app", "-o", "out", "app"]
        # Without a PATH it finds no other Python, whose packages it would take in.
        done = subprocess.run(
            command, cwd=folder, env={"PATH": "/nonexistent"}, capture_output=True, timeout=_PATIENCE, check=False
        )
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace")[-2000:]
            raise SandboxError(f"componentize-py could not build the interpreter for snippets: {said}")
        return (folder / "out").read_bytes()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
