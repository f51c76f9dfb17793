"""Stores by URL scheme.

`memory:` · `sqlite:///relative/path.db` · `sqlite:////absolute/path.db` (`?synchronous=normal` trades the last
moments before a power cut for speed). Packages add schemes through the entry point group `holdfast.adapters`:
a callable that takes the URL and the clock and returns a journal.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

from holdfast.errors import StorageReadOnly, UsageError
from holdfast.flow.clock import Clock
from holdfast.journal.port import Journal

__all__ = ("default_url", "open_journal")

_GROUP = "holdfast.adapters"


def default_url() -> str:
    """Returns the store of the person at this machine: `HOLDFAST_STORE`, or a database in their data folder."""
    if url := os.environ.get("HOLDFAST_STORE"):
        return url
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return f"sqlite:///{Path(data) / 'holdfast' / 'holdfast.db'}"


async def open_journal(url: str, clock: Clock) -> Journal:
    """Returns the store a URL names, created when there is none.

    Raises:
        UsageError: the URL names no store.
        StorageError: the database cannot be opened.
    """
    scheme = url.partition(":")[0]
    if scheme == "memory":
        from holdfast.journal.stores.memory import MemoryJournal

        return MemoryJournal(clock)
    if scheme == "sqlite":
        return await _sqlite(url, clock)
    for point in entry_points(group=_GROUP):
        if point.name == scheme:
            opener = cast("Callable[[str, Clock], Awaitable[Journal]]", point.load())
            return await opener(url, clock)
    raise UsageError(
        f"no store is known for {url!r}: use 'memory:' or 'sqlite:///path/to/file.db', or install a package that "
        f"registers {scheme!r} under {_GROUP!r}"
    )


async def _sqlite(url: str, clock: Clock) -> Journal:
    from holdfast.journal.stores.sqlite import SqliteJournal

    parts = urlsplit(url)
    options = parse_qs(parts.query)
    synchronous = options.pop("synchronous", ["full"])[0]
    path = unquote(parts.path).removeprefix("/")
    if parts.netloc or not path or options or synchronous not in ("full", "normal"):
        raise UsageError(
            f"{url!r} is not a SQLite store: write 'sqlite:///relative/path.db' or 'sqlite:////absolute/path.db', "
            "with '?synchronous=normal' if you like"
        )
    file = _folder_made(path)
    return await SqliteJournal.open(file, clock=clock, synchronous=synchronous)


def _folder_made(path: str) -> Path:
    file = Path(path).expanduser()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageReadOnly(
            f"the folder {str(file.parent)!r} for the store cannot be made ({error.strerror}): "
            "name another with --store or HOLDFAST_STORE"
        ) from error
    return file
