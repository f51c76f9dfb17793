"""Modules that a person names, imported: where one fails, in which line of theirs, and what to do.

To import a module is to run it, so whatever it raises or ends with is its own, and no fault of ours: no traceback is
shown.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from holdfast.cli.words import one_line
from holdfast.errors import HoldfastError, UsageError

__all__ = ("imported", "importing")

_GUARD = 'put what starts the program below `if __name__ == "__main__":`, so that importing it starts nothing'
_OURS = (__file__, importlib.__file__)


@contextmanager
def importing() -> Generator[None]:
    """Has modules of this folder found, behind what is installed, while the block lasts."""
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        if here in sys.path:  # a module may have changed it
            sys.path.remove(here)


def imported(reference: str, name: str) -> ModuleType:
    """Returns a module.

    Raises:
        UsageError: there is none, or it fails when it is imported; says where, and what to do.
    """
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # what it raises may be anything, and be of any kind
        if isinstance(error, ModuleNotFoundError) and error.name in _parents(name):
            missing = f"there is no module {error.name!r}, neither installed nor in this folder: is it spelled so?"
            raise UsageError(f"{reference!r}: {missing}") from error
        what, advice = _said(error)
        place = _place(error)
        raise UsageError(f"{reference!r} cannot be imported: {place}{one_line(what)}\n→ {advice}") from error


def _parents(name: str) -> list[str]:
    """Returns a module's name, and those of the packages that it is in."""
    parts = name.split(".")
    return [".".join(parts[:many]) for many in range(1, len(parts) + 1)]


def _said(error: BaseException) -> tuple[str, str]:
    """Returns what went wrong, and what to do."""
    kind = type(error).__name__
    match error:
        case HoldfastError():
            return str(error), "mend it there"
        case SystemExit():
            return f"it ends the program ({kind}: {error})", _GUARD
        case SyntaxError():
            return f"{kind}: {error.msg}", "mend it there"
        case ModuleNotFoundError():
            return f"{kind}: {error}", f"install {error.name!r}, or mend its name there"
        case _:
            starts = any(frame.filename.endswith("asyncio/runners.py") for frame in _frames(error))
            return f"{kind}: {error}" if str(error) else kind, _GUARD if starts else "mend it there"


def _place(error: BaseException) -> str:
    """Returns the file and line that it comes from, the last one in this folder if there is any; perhaps nothing."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_file():
        return f"{_short(error.filename)}:{error.lineno}: "
    frames = [frame for frame in _frames(error) if frame.filename not in _OURS and not frame.filename.startswith("<")]
    here = [frame for frame in frames if Path(frame.filename).is_relative_to(Path.cwd())]
    last = next(reversed(here or frames), None)
    return "" if last is None else f"{_short(last.filename)}:{last.lineno}: "


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    # Its lines are not read: only where they are is told.
    return list(traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False))


def _short(file: str) -> str:
    path = Path(os.path.abspath(file))  # noqa: PTH100 - a name for people, and nothing is looked at
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
