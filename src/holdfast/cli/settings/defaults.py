"""What commands take from the settings where no option says otherwise, read once in a process for each folder."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from holdfast.runtime.opening import data_url
from holdfast.runtime.settings import Settings, load_settings

__all__ = ("default_store", "settings", "store_url", "warn")


def settings(folder: Path | None = None) -> Settings:
    """Returns what holds in a folder, by default this one.

    Raises:
        UsageError: a file or a variable says something that is no setting; the message says where.
    """
    return _loaded(str((folder or Path()).resolve()))


@functools.cache
def _loaded(folder: str) -> Settings:
    return load_settings(Path(folder), os.environ)


def default_store() -> str:
    """Returns the store that commands use when none is named."""
    return settings().store or data_url("holdfast.db")


def store_url(given: str | None) -> str:
    """Returns the store an option names, or the default one."""
    return given or default_store()


def warn(held: Settings) -> None:
    """Says on standard error what was passed over in a project's file."""
    for note in held.notes:
        clean = "".join(letter if letter.isprintable() else "\ufffd" for letter in note)
        print(f"note {clean}", file=sys.stderr)
