"""Machine code in a folder that belongs to its user alone: made once, whole or not at all, and for all processes.

What is in the folder is code that we run, so nobody else may write there, and a file is used only when it is what was
once written: its digest stands beside it. Whoever comes while it is made waits at a lock on a file. One that is damaged
is made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

from holdfast.errors import SandboxError
from holdfast.sandbox import leash

__all__ = ("kept", "output_of", "version_of")


def version_of(package: str) -> str | None:
    """Returns the version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def kept(
    file: Path, make: Callable[[], bytes], *, anew: bool = False, waiting: Callable[[], None] | None = None
) -> Path:
    """Returns a file of a private folder, and makes it where it is missing, damaged, or wanted `anew`.

    `waiting` is called where somebody else is making it, and this waits.

    Raises:
        SandboxError: others may write to the folder.
        OSError: it cannot be read or written.
    """
    _make_private(file.parent)
    if not anew and _whole(file):
        return file
    with _locked(file.with_suffix(".lock"), waiting):
        if anew or not _whole(file):  # else somebody was quicker
            data = make()
            _write(file, data)
            _write(file.with_suffix(".sha256"), hashlib.sha256(data).hexdigest().encode())
    return file


def output_of(
    command: Sequence[str],
    *,
    given: bytes = b"",
    seconds: float,
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Runs a compiler to its end; it does not outlive this process, however that ends.

    Raises:
        subprocess.TimeoutExpired: it took longer.
        OSError: it cannot be started.
    """
    pipe, shell = subprocess.PIPE, shutil.which("bash")
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=folder, env=env, process_group=0
    ) as process:
        if shell is not None:
            leash.hold(process.pid, shell)
        try:
            out, errors = process.communicate(given, timeout=seconds)
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            if shell is not None:
                leash.release(process.pid, shell)
    return subprocess.CompletedProcess(command, process.wait(), out, errors)


def _whole(file: Path) -> bool:
    """Returns whether a file is there and is what was written."""
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
def _locked(file: Path, waiting: Callable[[], None] | None) -> Generator[None, None, None]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
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
