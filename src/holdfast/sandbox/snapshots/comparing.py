"""Says what differs between two trees, looking only into folders whose digests do.

One side is always a snapshot; the other may be one too, or the files as a walk found them. What is asked of a side
is only what a folder holds, so both look alike here.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping

from holdfast.sandbox.snapshots.entries import Entry, state_of
from holdfast.types import Change, Changes, Digest, FileState
from holdfast.types.snapshots import ChangeKind

__all__ = ("Listing", "Names", "Opened", "change_between", "compare_trees", "look_up")

Listing = Callable[[Digest], Awaitable[Iterable[Entry]]]
"""What a folder holds, by its digest."""
Names = Mapping[bytes, Entry | None]
"""Entries by name; None where it is known that nothing is there."""
_MOST = 20_000
"""Entries that stay decoded; of one larger listing, all."""


class Opened:
    """What was looked into last, folders and lists of paths, by digest: whoever asks path by path decodes each once."""

    def __init__(self) -> None:
        self._held: OrderedDict[Digest, Names] = OrderedDict()

    async def names(self, digest: Digest, load: Callable[[Digest], Awaitable[Names]]) -> Names:
        """Returns what a digest stands for, loaded unless it is held."""
        if digest not in self._held:
            self._held[digest] = await load(digest)
            while len(self._held) > 1 and sum(map(len, self._held.values())) > _MOST:
                self._held.popitem(last=False)
        self._held.move_to_end(digest)
        return self._held[digest]

    def clear(self) -> None:
        """Lets go of all."""
        self._held.clear()


async def compare_trees(before: Entry, after: Entry, left: Listing, right: Listing) -> Changes:
    """Returns what differs between two folders, sorted by path."""
    found: list[Change] = []
    todo: list[tuple[str, Entry | None, Entry | None]] = [("", before, after)]
    while todo:
        path, old, new = todo.pop()
        if path and (change := change_between(path, old, new)) is not None:
            found.append(change)
        if _digest(old) == _digest(new):
            continue
        olds, news = await _names(old, left), await _names(new, right)
        for name in {*olds, *news}:
            one, other = olds.get(name), news.get(name)
            if one != other:
                below = os.fsdecode(name)
                todo.append((f"{path}/{below}" if path else below, one, other))
    return tuple(sorted(found, key=lambda change: os.fsencode(change.path)))


def change_between(path: str, before: Entry | None, after: Entry | None) -> Change | None:
    """Returns how two entries differ; None when they do not, or only in what they contain as folders."""
    old, new = _state(before), _state(after)
    if old == new:
        return None
    return Change(path, _kind(old, new), old, new)


async def look_up(root: Entry, path: str, listing: Listing, opened: Opened) -> Entry | None:
    """Returns what a tree has at a path; None when nothing is there. No link is followed."""

    async def load(digest: Digest) -> Names:
        return {entry.name: entry for entry in await listing(digest)}

    found: Entry | None = root
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if found is None or found.kind != "folder":
            return None
        found = (await opened.names(found.digest, load)).get(os.fsencode(part))
    return found


def _kind(old: FileState | None, new: FileState | None) -> ChangeKind:
    if old is None:
        return "added"
    if new is None:
        return "removed"
    if old.kind != new.kind:
        return "type"
    return "mode" if (old.digest, old.target) == (new.digest, new.target) else "modified"


def _state(entry: Entry | None) -> FileState | None:
    return None if entry is None else state_of(entry)


def _digest(entry: Entry | None) -> Digest | None:
    return entry.digest if entry is not None and entry.kind == "folder" else None


async def _names(entry: Entry | None, listing: Listing) -> Mapping[bytes, Entry]:
    if entry is None or entry.kind != "folder":
        return {}
    return {each.name: each for each in await listing(entry.digest)}
