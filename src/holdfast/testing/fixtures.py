"""Scripts from files: YAML or JSON in, checked scripts out. `scripts.py` describes the format.

Nothing is guessed: a key nobody knows, a value of another type or a file that is no YAML is an error that names
the file and the place in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from holdfast.errors import UsageError
from holdfast.testing.scripts import Turn

__all__ = ("load_scripts", "parse_scripts")

_MAX_FILE = 16 * 1024 * 1024


class _Fixture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    turns: Sequence[Turn] | None = None
    scripts: dict[str, Sequence[Turn]] | None = None

    def __post_init__(self) -> None:
        if (self.turns is None) == (self.scripts is None):
            raise ValueError("a fixture has either `turns` or `scripts` at its top")


def load_scripts(path: Path) -> Sequence[Turn] | dict[str, Sequence[Turn]]:
    """Returns the one script of a file, or its scripts by name.

    Raises:
        UsageError: the file cannot be read, or is not a fixture.
    """
    try:
        if path.stat().st_size > _MAX_FILE:
            raise UsageError(f"script {str(path)!r} is larger than {_MAX_FILE >> 20} MiB: split it")
        return parse_scripts(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"cannot read the script {str(path)!r} ({error.strerror}): check the path") from error


def parse_scripts(data: bytes, name: str) -> Sequence[Turn] | dict[str, Sequence[Turn]]:
    """Returns the scripts that bytes of YAML or JSON hold; `name` is what errors call them.

    Raises:
        UsageError: the bytes are not a fixture.
    """
    try:
        tree: Any = yaml.safe_load(data)
        fixture = msgspec.convert(tree, _Fixture)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"script {name!r} is not YAML: {' '.join(str(error).split())}") from error
    except msgspec.ValidationError as error:
        raise UsageError(
            f"script {name!r} is not valid: {error}; `python -m pydoc holdfast.testing.scripts` describes the format"
        ) from error
    if fixture.scripts is not None:
        return fixture.scripts
    return fixture.turns or ()
