"""Paths of files in the one spelling under which they are compared, and patterns of them.

A relative path is one in the workspace, and so is an absolute one below its folder; others are compared as they are.
Which file a name leads to is not known here: links are the business of who opens it (`sandbox/walking.py`), and what a
tool looks at below a folder that it was given is the business of the sandbox.

In patterns `*` is anything but a slash, `**` any folders, `?` one character. A pattern that denies also means all that
is below what it means, and reads upper and lower case and blanks or dots at the end of a name alike, as some disks do.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

from holdfast.sandbox.policy.matching import compile_glob

__all__ = ("Spellings", "compile_path", "path_of")

Spellings = tuple[str, ...]
"""How a path may be written: in the workspace, and absolutely."""

_LONGEST: Final = 4096
_DRIVE: Final = re.compile(r"[A-Za-z]:")


def path_of(value: object, root: str = "") -> Spellings:
    """Returns how a path is compared; `root` is the folder of the workspace, empty where there is none.

    Raises:
        TypeError: it is no text.
        ValueError: it climbs, or can be read in more than one way; says which.
    """
    if not isinstance(value, str):
        raise TypeError("a path as text")
    path = _plain(value)
    if not root:
        return (path,)
    root = root.rstrip("/")
    if not path.startswith("/"):
        return path, root if path == "." else f"{root}/{path}"
    if path == root:
        return ".", path
    return (path[len(root) + 1 :], path) if path.startswith(f"{root}/") else (path,)


def compile_path(pattern: str, *, denies: bool) -> Callable[[Spellings], bool]:
    """Returns whether a path is among those that a pattern means.

    Raises:
        ValueError: it is no pattern; says what to write.
    """
    plain = _plain(pattern)
    if not denies:
        found = compile_glob(plain, "/")
        return lambda path: any(found.fullmatch(each) for each in path)
    folded = compile_glob(_folded(plain), "/")
    return lambda path: any(folded.fullmatch(each) for spelling in path for each in _around(_folded(spelling)))


def _plain(path: str) -> str:
    """Returns a path without `.` and doubled slashes."""
    if not path:
        raise ValueError("it is empty: write `.` for the workspace")
    if len(path) > _LONGEST:
        raise ValueError(f"it has {len(path):,} characters, and {_LONGEST:,} are the most of a path")
    if "\\" in path or not path.isprintable():
        raise ValueError("there is a backslash or a sign in it that cannot be seen")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not path.startswith("/") and parts and (parts[0].startswith("~") or _DRIVE.match(parts[0])):
        raise ValueError("it begins with somebody's home or a drive: write it from the workspace on")
    if ".." in parts:
        raise ValueError("it climbs with `..`: write the path without")
    return ("/" if path.startswith("/") else "") + "/".join(parts) or "."


def _folded(path: str) -> str:
    text = unicodedata.normalize("NFKC", path).casefold()
    return "/".join(part.rstrip(" .") or part for part in text.split("/"))


def _around(path: str) -> list[str]:
    """Returns a path, the same as a folder, and all folders that it is in."""
    found = [path, f"{path}/", "/" if path.startswith("/") else "."]
    while (at := path.rfind("/")) > 0:
        path = path[:at]
        found.append(path)
    return found
