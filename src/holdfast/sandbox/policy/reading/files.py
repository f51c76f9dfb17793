"""Files that people write, read with a bound, and what is wrong with them, a line each."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from holdfast.errors import UsageError

__all__ = ("contents", "listed")

_LARGEST: Final = 1024 * 1024
_MOST_SHOWN: Final = 50


def contents(path: Path, what: str) -> bytes:
    """Returns what stands in a file; `what` it is to hold, for example `policy`, is for the message.

    Raises:
        UsageError: there is no such file, or too much in it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise UsageError(f"{path}: this is no file with a {what}: name one")
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{path}: the {what} cannot be read ({error.strerror}): name a file that is there") from error
    except ValueError:
        raise UsageError(f"{str(path)!r} is no name of a file: name the file of a {what}") from None
    if len(data) > _LARGEST:
        raise UsageError(f"{path}: the file has more than {_LARGEST:,} bytes: write a {what} for each part of it")
    return data


def listed(name: str, problems: Sequence[object]) -> str:
    """Returns problems of a file as `name:line:column: what`, the first fifty of them."""
    lines = [f"{name}:{each}" for each in problems[:_MOST_SHOWN]]
    if len(problems) > _MOST_SHOWN:
        lines.append(f"{name}: and {len(problems) - _MOST_SHOWN} more; mend these first")
    return "\n".join(lines)
