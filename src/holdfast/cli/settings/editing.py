"""Changing one line of a settings file: the others, their order and all comments stay as they are.

The file is replaced as a whole, so that a reader sees the old one or the new one. What cannot be changed by a line (a
file in YAML's braces, a value over several lines) is refused, and nothing is written.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.runtime.settings import read_file

__all__ = ("remove_key", "set_key")

_BARE = re.compile(r"[A-Za-z0-9./_-]([A-Za-z0-9./_ -]*[A-Za-z0-9./_-])?")
_COMMENT = re.compile(r"""^(?:[^#'"]|"(?:[^"\\]|\\.)*"|'(?:[^']|'')*')*?(?P<comment>\s+#.*)$""")


def set_key(path: Path, name: str, value: object) -> None:
    """Makes a file, created if need be, set a name to a value.

    Raises:
        UsageError: the file holds something else than settings, or cannot be changed by a line, or not written.
    """
    lines, at = _lines(path, name)
    comment = "" if at is None else _comment(lines[at])
    line = f"{name}: {_written(value)}{comment}\n"
    if at is None:
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        lines.append(line)
    else:
        lines[at] = line
    _replace(path, "".join(lines), name, value)


def remove_key(path: Path, name: str) -> bool:
    """Takes a name out of a file; returns whether it was set there.

    Raises:
        UsageError: as `set_key` says.
    """
    lines, at = _lines(path, name)
    if at is None:
        return False
    del lines[at]
    _replace(path, "".join(lines), name, None)
    return True


def _lines(path: Path, name: str) -> tuple[list[str], int | None]:
    found = read_file(path)
    text = path.read_bytes().decode("utf-8-sig") if path.exists() else ""
    at = found[name][1] - 1 if name in found else None
    lines = text.splitlines(keepends=True)
    if at is not None and not re.match(rf"""["']?{re.escape(name)}["']?\s*:""", lines[at]):
        raise _by_hand(path, name)
    return lines, at


def _comment(line: str) -> str:
    found = _COMMENT.match(line.rstrip("\r\n"))
    return found["comment"] if found else ""


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    text = str(value)
    return text if isinstance(value, int) or _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _replace(path: Path, text: str, name: str, value: object) -> None:
    before = read_file(path)
    wanted = {key: each for key, (each, _) in before.items() if key != name} | ({} if value is None else {name: value})
    target = path.resolve()  # a link stays a link
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=".config-", suffix=".yaml", dir=target.parent)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}): name another place, or set a variable"
        ) from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fchmod(handle, target.stat().st_mode & 0o7777 if target.exists() else 0o644)
            os.fsync(handle)
        if {key: each for key, (each, _) in _read(Path(draft)).items()} != wanted:
            raise _by_hand(path, name)
        os.replace(draft, target)  # noqa: PTH105 - the draft is a name, not a path
    except BaseException:
        os.unlink(draft)  # noqa: PTH108 - as above
        raise


def _read(draft: Path) -> dict[str, tuple[object, int]]:
    try:
        return read_file(draft)
    except UsageError:
        return {}


def _by_hand(path: Path, name: str) -> UsageError:
    return UsageError(f"{path}: {name} is not on a line of its own there: change it with an editor")
