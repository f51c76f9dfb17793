"""Stores by URL scheme.

`memory:` · `sqlite:///relative/path.db` · `sqlite:////absolute/path.db` (`?synchronous=normal` trades the last
moments before a power cut for speed). Packages add schemes through the entry point group `holdfast.adapters`:
a callable that takes the URL and the clock and returns a journal.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import parse_qs, unquote, urlsplit
from weakref import WeakKeyDictionary

from holdfast.errors import StorageReadOnly, UsageError
from holdfast.flow.clock import Clock
from holdfast.journal.port import Journal
from holdfast.ledger.port import Ledger
from holdfast.types import digest_of

if TYPE_CHECKING:
    from holdfast.tools.keeping.port import KeyValues

__all__ = (
    "data_folder",
    "data_url",
    "default_url",
    "files_of",
    "open_journal",
    "open_values",
    "store_exists",
    "store_name",
    "workspaces_of",
)

_GROUP = "holdfast.adapters"


def default_url() -> str:
    """Returns the store of the person at this machine: `HOLDFAST_STORE`, or a database in their data folder."""
    if url := os.environ.get("HOLDFAST_STORE"):
        return url
    return data_url("holdfast.db")


def data_url(file: str) -> str:
    """Returns the store in a file of that name in the data folder of the person at this machine."""
    return f"sqlite:///{data_folder() / file}"


def workspaces_of(url: str) -> Path | None:
    """Returns the folder for the files of forked sessions: beside the database, or in the data folder; None where
    they are gone with the log.
    """
    if url == "memory:":
        return None
    if not url.startswith("sqlite:"):
        return data_folder() / "workspaces"
    file = _file(url)[0].resolve()
    return file.with_name(f"{file.stem}.workspaces")


def data_folder() -> Path:
    """Returns where Holdfast keeps what belongs to the person at this machine; it need not exist yet."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "holdfast"


async def open_journal(url: str, clock: Clock) -> Journal:
    """Returns the store a URL names, created when there is none.

    Raises:
        UsageError: the URL names no store.
        StorageError: the database cannot be opened.
    """
    scheme = url.partition(":")[0]
    if url == "memory:":
        from holdfast.journal.stores.memory import MemoryJournal

        return MemoryJournal(clock)
    if scheme == "sqlite":
        return await _sqlite(url, clock)
    from importlib.metadata import entry_points

    for point in entry_points(group=_GROUP):
        if point.name == scheme:
            opener = cast("Callable[[str, Clock], Awaitable[Journal]]", point.load())
            return await opener(url, clock)
    if ":" not in url:
        raise UsageError(f"{url!r} names no store: did you mean 'sqlite:///{url}'? ('memory:' keeps the log in memory)")
    raise UsageError(
        f"no store is known for {url!r}: use 'memory:' or 'sqlite:///path/to/file.db', or install a package that "
        f"registers {scheme!r} under {_GROUP!r}"
    )


def files_of(url: str) -> tuple[Path, ...]:
    """Returns where a store keeps itself: what no snapshot of a workspace around it may hold or put back."""
    folder = workspaces_of(url)
    files = (folder,) if folder else ()
    if not url.startswith("sqlite:"):
        return files
    file = _file(url)[0].resolve()
    return (*files, file, *(file.with_name(file.name + ending) for ending in ("-wal", "-shm", "-journal")))


def store_name(url: str) -> str:
    """Returns a name that every process gives this store and no other, and that says nothing of where it is."""
    if url == "memory:":
        return ""
    place = str(_file(url)[0].resolve()) if url.startswith("sqlite:") else url
    return digest_of(place.encode()).removeprefix("sha256:")[:16] + ":"


def store_exists(url: str) -> bool:
    """Returns whether opening a store would find one; False only where it would have to be made."""
    return not url.startswith("sqlite:") or _file(url)[0].exists()


async def _sqlite(url: str, clock: Clock) -> Journal:
    from holdfast.journal.stores.sqlite import SqliteJournal
    from holdfast.ledger.stores.sqlite import LEDGER

    file, synchronous = _file(url)
    if not file.parent.is_dir():
        _make_folder(file.parent)
    return await SqliteJournal.open(file, clock=clock, synchronous=synchronous, beside=(LEDGER,))


def open_ledger(journal: Journal, clock: Clock) -> Ledger:
    """Returns the ledger of a store: in the same file where it is one, and otherwise in memory."""
    from holdfast.ledger.stores.memory import MemoryLedger

    database = getattr(journal, "database", None)
    if database is None:
        return MemoryLedger(clock)
    from holdfast.ledger.stores.sqlite import SqliteLedger

    return SqliteLedger(database, clock)


_kept: WeakKeyDictionary[Journal, KeyValues] = WeakKeyDictionary()
"""Of stores without a file, what is kept in them."""


def open_values(journal: Journal, clock: Clock) -> KeyValues:
    """Returns the values that tools keep in a store: in the same file where it is one, and otherwise in memory."""
    database = getattr(journal, "database", None)
    if database is not None:
        from holdfast.tools.keeping.sqlite import SqliteKeyValues

        return SqliteKeyValues(database, clock)
    if journal not in _kept:
        from holdfast.tools.keeping.memory import MemoryKeyValues

        _kept[journal] = MemoryKeyValues(clock)
    return _kept[journal]


def _file(url: str) -> tuple[Path, Literal["full", "normal"]]:
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    synchronous = options.pop("synchronous", ["full"])[0]
    path = unquote(parts.path).removeprefix("/")
    if parts.netloc or not path or options or synchronous not in ("full", "normal"):
        raise UsageError(
            f"{url!r} is not a SQLite store: write 'sqlite:///relative/path.db' or 'sqlite:////absolute/path.db', "
            "with '?synchronous=normal' if you like"
        )
    return Path(path).expanduser(), synchronous


def _make_folder(folder: Path) -> None:
    """Makes the data folder of a new user; a folder that was named by hand has to be there, or it was misspelt."""
    if folder.resolve() != data_folder().resolve():
        raise UsageError(f"there is no folder {str(folder)!r} for the store: make it first, or name another")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageReadOnly(
            f"the folder {str(folder)!r} for the store cannot be made ({error.strerror}): "
            "name another with --store or HOLDFAST_STORE"
        ) from error
