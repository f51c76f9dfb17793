"""What the file tools share: how they reach the workspace, and how they tell the model what went wrong."""

from __future__ import annotations

import asyncio
import difflib
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, TypeVar

from holdfast.errors import PathEscape, SandboxError
from holdfast.sandbox.workspace import Workspace
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.texts.showing import shown_text

__all__ = ("finishing", "reporting", "workspace_of")

T = TypeVar("T")

_COMPARED = 2000
"""Names of a folder that a misspelt one is compared with."""


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
