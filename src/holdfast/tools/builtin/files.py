"""What the file tools share: how they reach the workspace, and how they tell the model what went wrong."""

from __future__ import annotations

import asyncio
import difflib
import os
import threading
import unicodedata
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, TypeVar

from holdfast.errors import PathEscape, SandboxError
from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.texts.showing import shown_text

__all__ = ("finishing", "refuse_kept", "reporting", "workspace_of")

T = TypeVar("T")

_COMPARED = 2000
"""Names of a folder that a misspelt one is compared with."""
_KEPT = {
    ".git": "git runs commands that files there name: use the git tool, or a command in bash",
    ".holdfast": "it changes how Holdfast runs: let the person do that with `holdfast config set --project`",
}
"""Names, at any depth, below which no tool writes for the model, why, and what to do instead."""
_REPOSITORY = ("HEAD", "objects", "refs")
"""What a folder holds that git takes for a repository, whatever its name."""


def workspace_of(context: ToolContext) -> Workspace:
    """Returns the folder the call may act in.

    Raises:
        ToolFailure: the run has none.
    """
    if context.workspace is None:
        raise ToolFailure("This run has no workspace, so there are no files and no commands.", code="execution_failed")
    return context.workspace


async def finishing(work: Callable[[threading.Event], T]) -> T:
    """Does the work in a thread and returns its result; when cancelled, waits until the work has stopped.

    So nothing of a call happens after its result. The work is given an event that is set when it need not go on.
    """
    stop = threading.Event()
    job = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait((job,))
        if not job.cancelled():
            job.exception()  # looked at, so that nobody is told it was not
        raise


def refuse_kept(workspace: Workspace, path: str, metadata: dict[str, Any]) -> None:
    """Ends quietly when a tool may write there: not in `.git` or `.holdfast` in any letter case, through links or not,
    nor in what git takes for a repository, nor so that it becomes one.

    What the profile of the sandbox protects is refused by the workspace, too, whoever asks; here so that the model is
    told in time. Links that change between this and the write give nothing away: whoever can change them writes there
    without us.

    Raises:
        ToolFailure: it may not; the code is `permission_denied`.
        PathEscape, OSError: as the workspace's `replace`.
    """
    with workspace.at(path, follow=True, missing=True) as place:
        parts = place.path.split("/")
    # As it was given, too: a `.git` that is a link to another folder is one all the same.
    for name in map(_folded, (*path.split("/"), *parts)):
        if name in _KEPT:
            reason = f"{path!r} is not written: it lies in {name}, and {_KEPT[name]}."
            raise ToolFailure(reason, code="permission_denied", metadata=metadata)
    try:
        workspace.refuse_protected(path)
    except PathEscape:
        raise
    except SandboxError as error:
        raise ToolFailure(f"{error}.", code="permission_denied", metadata=metadata) from error
    for depth, part in enumerate(parts):
        if _is_repository(workspace, "/".join(parts[:depth]), _folded(part)):
            reason = f"{path!r} is not written: that folder is, or would be, a git repository, and {_KEPT['.git']}."
            raise ToolFailure(reason, code="permission_denied", metadata=metadata)


def _folded(name: str) -> str:
    """The name as a disk compares it that knows no letter case, and passes over characters that are not seen."""
    return "".join(letter for letter in name if unicodedata.category(letter) != "Cf").casefold()


def _is_repository(workspace: Workspace, folder: str, part: str) -> bool:
    """Whether git would take a folder for a repository once it holds `part`."""
    inside = f"{folder}/" if folder else ""
    others = [name for name in _REPOSITORY if name.casefold() != part]
    return all(workspace.status(inside + name, follow=False) is not None for name in others)


@contextmanager
def reporting(workspace: Workspace, path: str, metadata: dict[str, Any]) -> Generator[None, None, None]:
    """Turns what the workspace and the system refuse into an error the model can act on."""
    try:
        yield
    except PathEscape as error:
        raise ToolFailure(str(error), code="permission_denied", metadata=metadata) from error
    except SandboxError as error:
        raise ToolFailure(str(error), code="execution_failed", metadata=metadata) from error
    except OSError as error:
        code = "permission_denied" if isinstance(error, PermissionError) else "execution_failed"
        raise ToolFailure(_explained(workspace, path, error), code=code, metadata=metadata) from error


def _explained(workspace: Workspace, path: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"There is no file {path!r}.{_similar(workspace, path)}"
    if isinstance(error, IsADirectoryError):
        return f"{path!r} is a folder, not a file. Name a file in it; `ls` lists them."
    if isinstance(error, NotADirectoryError):
        return f"A part of {path!r} is a file, not a folder. Use another path."
    if isinstance(error, PermissionError):
        return f"{path!r} may not be accessed: {error.strerror}."
    return f"{path!r}: {error.strerror or error}."


def _similar(workspace: Workspace, path: str) -> str:
    folder, _, name = path.rpartition("/")
    with suppress(PathEscape, OSError):
        with workspace.folder(folder or ".") as (descriptor, _), os.scandir(descriptor) as found:
            names = [entry.name for entry in islice(found, _COMPARED)]
        near = [shown_text(other) for other in difflib.get_close_matches(name, sorted(names), n=3)]
        if near:
            return " Similar there: " + ", ".join(repr(other) for other in near) + "."
        return " The folder is there, but holds no such name." if folder else " Paths are relative to the workspace."
    return f" There is no folder {folder!r} either."
