"""Runs the search of `grep` in helper processes and sees that they end.

`scanner.py` does the search, alone or, where ripgrep is installed, over the files in which ripgrep saw a candidate.
Ripgrep opens files by their paths, so while links are swapped it may look at a file that is elsewhere; nothing of
such a file gets into the answer, because the scanner opens each file itself, from the folder that is open.

Both have a time, and end with it, with the call that asked or, by their limit of processor time, without any of
these. Blocking; meant for a thread.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

import msgspec

from holdfast.tools.builtin.searching.dialect import Node
from holdfast.tools.builtin.searching.rendering import for_python, for_ripgrep

__all__ = ("LARGEST", "Lines", "Request", "find_lines", "find_ripgrep")

LARGEST = 64 * 1024 * 1024
"""Bytes of the largest file that is searched."""
_STEP = 0.05
"""Seconds between two looks at whether the call is still wanted."""
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from holdfast.tools.builtin.searching.scanner import main; main()"
)
_RIPGREP = (
    "--no-config",
    "--files-with-matches",
    "--null",
    "--no-ignore",
    "--no-follow",
    "--no-hidden",
    "--no-messages",
    "--no-mmap",
    "--no-pre",
    "--no-search-zip",
    "--engine=default",
    "--encoding=none",
    "--color=never",
    "--case-sensitive",
    f"--max-filesize={LARGEST}",
    "--",
)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for below an open folder."""

    node: Node
    prefix: str = ""
    """What stands before the names in the answer: the folder, relative to the workspace."""
    single: str = ""
    """The one file of the folder to look at; all below it otherwise."""
    include: str = ""
    exclude: str = ""
    limit: int
    """Lines that match, at most."""
    near: int = 0
    """Lines to show before and after each."""
    room: int
    """Characters of the answer, at most."""


class Lines(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    text: str
    count: int
    """Lines that match."""
    more: bool
    """Whether there are lines that were left out."""
    binary: bool
    """Whether the single file to look at was no text."""


@functools.cache
def find_ripgrep() -> str | None:
    """Returns where ripgrep is; None where it is not installed."""
    return shutil.which("rg")


def find_lines(
    folder: int, request: Request, *, ripgrep: str | None, seconds: float, stop: threading.Event
) -> Lines | None:
    """Returns what was found below the folder, the same with ripgrep and without; None when `stop` was set.

    Raises:
        TimeoutError: it took longer than `seconds`.
        OSError: no helper process could be started.
    """
    until = time.monotonic() + seconds
    if ripgrep is not None and not request.single:
        with suppress(_Useless):
            return _search(folder, request, ripgrep, until, stop)
    return _search(folder, request, None, until, stop)


class _Useless(Exception):
    """Ripgrep did not do what was asked: too old, or not this pattern."""


def _search(folder: int, request: Request, ripgrep: str | None, until: float, stop: threading.Event) -> Lines | None:
    with ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile())
        candidates = _candidates(folder, request, ripgrep, until, errors, stack) if ripgrep else None
        source = candidates.stdout if candidates else None
        scanner = _started(
            [sys.executable, "-I", "-S", "-c", _START, _home(), _encoded(request, candidates is not None), str(folder)],
            until,
            stack,
            stdin=source or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=(folder,),
        )
        if source:
            source.close()  # the scanner alone reads it
        answer = _awaited(scanner, until, stop)
        if answer is None:
            return None
        if candidates and not _useful(candidates, until, errors):
            raise _Useless
        if scanner.returncode:
            errors.seek(0)
            raise OSError(
                f"the search ended with code {scanner.returncode}: {errors.read(2000).decode(errors='replace')}"
            )
        return msgspec.json.decode(answer, type=Lines)


def _candidates(
    folder: int, request: Request, ripgrep: str, until: float, errors: IO[bytes], stack: ExitStack
) -> subprocess.Popen[bytes]:
    try:
        return _started(
            [ripgrep, *_RIPGREP, for_ripgrep(request.node), "."],
            until,
            stack,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=_named(folder),
        )
    except OSError:
        raise _Useless from None


def _started(command: list[str], until: float, stack: ExitStack, **options: object) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, env={}, **options)  # type: ignore[call-overload]
    stack.callback(_end, process)
    with suppress(ImportError, OSError):
        import resource  # noqa: PLC0415 - not every system has it

        # Of all its threads together; where nobody is left to end it, it still has an end.
        seconds = max(1, round(until - time.monotonic()) + 1) * (os.cpu_count() or 1)
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (seconds, seconds))
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stdin):
        if stream:
            stream.close()


def _awaited(process: subprocess.Popen[bytes], until: float, stop: threading.Event) -> bytes | None:
    while not stop.is_set():
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            return process.communicate(timeout=min(_STEP, left))[0]
        except subprocess.TimeoutExpired:
            continue
    return None


def _useful(candidates: subprocess.Popen[bytes], until: float, errors: IO[bytes]) -> bool:
    """Whether ripgrep looked at everything: some unreadable file is nothing that it says anything about."""
    try:
        code = candidates.wait(max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return code in (0, 1) or (code == 2 and errors.seek(0, os.SEEK_END) == 0)


def _encoded(request: Request, listed: bool) -> str:
    return msgspec.json.encode(
        {
            "pattern": for_python(request.node),
            "include": request.include,
            "exclude": request.exclude,
            "single": request.single,
            "prefix": request.prefix,
            "listed": listed,
            "limit": request.limit,
            "near": request.near,
            "largest": LARGEST,
            "room": request.room,
        }
    ).decode()


def _home() -> str:
    """The folder that the package is imported from."""
    return str(Path(__file__).resolve().parents[4])


def _named(folder: int) -> str:
    """A path of the open folder, for a process that is about to start."""
    for path in (f"/proc/self/fd/{folder}", f"/dev/fd/{folder}"):
        if Path(path).is_dir():
            return path
    raise OSError("an open folder has no path here")
