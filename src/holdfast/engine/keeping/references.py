"""What an event needs beside itself: the blobs and snapshots it refers to.

Nothing here knows a payload by name, so none can be forgotten: whatever is written as a digest refers to a blob, in
whichever field or text it stands, and a `SnapshotRef` refers to what its store says. A digest that only looks like one
keeps a blob that nobody needs, which costs space; one that was overlooked would cost the content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

import msgspec

from holdfast.types import Digest, Event, SnapshotRef, Unknown

__all__ = ("References", "may_refer", "references", "references_in")

_MARK = b"sha256:"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class References(msgspec.Struct, frozen=True):
    """What has to be there for an event, or a letter, to be understood."""

    digests: tuple[Digest, ...] = ()
    snapshots: tuple[SnapshotRef, ...] = ()
    """Their manifests are not among the digests: a snapshot is kept or let go as a whole."""


def may_refer(body: bytes) -> bool:
    """Returns whether an encoded event or letter refers to anything; most do not, and need not be decoded."""
    return _MARK in body


def references(event: Event) -> References:
    """Returns what an event refers to, each once.

    Of a type this version does not know, what has the form of a snapshot counts as one.
    """
    return references_in(event.data.raw) if isinstance(event.data, Unknown) else _gathered(event.data)


def references_in(body: bytes | msgspec.Raw) -> References:
    """Returns what JSON of unknown meaning refers to, such as a letter; of other bytes, the digests in them."""
    try:
        return _gathered(msgspec.json.decode(body), by_form=True)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _gathered(bytes(body).decode("utf-8", "replace"))


def _gathered(value: object, *, by_form: bool = False) -> References:
    digests: dict[Digest, None] = {}
    snapshots: dict[SnapshotRef, None] = {}
    for found in _walk(value, by_form=by_form):
        if isinstance(found, SnapshotRef):
            snapshots[found] = None
        else:
            digests[found] = None
    return References(tuple(digests), tuple(snapshots))


def _walk(value: object, *, by_form: bool) -> Iterator[Digest | SnapshotRef]:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case SnapshotRef() as ref:
                yield ref
            case str() as text:
                yield from map(Digest, _DIGEST.findall(text))
            case msgspec.Struct() as struct:
                waiting += [getattr(struct, name) for name in struct.__struct_fields__]
            case dict() as found:  # pyright: ignore[reportUnknownVariableType]
                mapping = cast("dict[object, object]", found)
                if by_form and (ref := _snapshot(mapping)) is not None:
                    yield ref
                else:
                    waiting += [*mapping, *mapping.values()]
            case list() | tuple() | set() | frozenset() as several:  # pyright: ignore[reportUnknownVariableType]
                waiting += cast("list[object]", several)
            case _:
                pass  # numbers, truth values and bytes refer to nothing


def _snapshot(mapping: dict[object, object]) -> SnapshotRef | None:
    if not {"store", "manifest"} <= mapping.keys():
        return None
    try:
        return msgspec.convert(mapping, SnapshotRef)
    except msgspec.ValidationError:
        return None
