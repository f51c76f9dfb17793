"""Files that travel with a run: those it was given, and those its tools made.

The log holds what is said here; the bytes lie beside it, as blobs. A name is the name of one file and nothing more:
whoever made it up, it leads nowhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import msgspec

from holdfast.types.ids import Digest

__all__ = ("FILE_BYTES", "Attachment", "distinct", "plain_name", "plain_type")

FILE_BYTES = 50_000_000
"""The largest file that travels with a run."""

_NAME_BYTES = 200
"""Of a name, with room for a number behind it: file systems take 255."""
_BAD = re.compile(r'[<>:"|?*]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,63}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,63}")


class Attachment(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A file, by reference."""

    name: str
    media_type: str
    digest: Digest
    """Of its bytes, which are a blob of that name unless there are `chunks`."""
    size: int
    """Bytes."""
    chunks: tuple[Digest, ...] = ()
    """The blobs that make up a large one, in order."""


def plain_name(name: str) -> str:
    """Returns a name that stands for one file in one folder, on any system; the same one where it does already."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    seen = "".join(each for each in last if unicodedata.category(each)[0] != "C")  # no line ends, nothing invisible
    plain = _BAD.sub("_", seen).strip(" .")
    if _RESERVED.fullmatch(plain):
        plain = f"_{plain}"
    return _shortened(plain) or "file"


def _shortened(name: str) -> str:
    if len(name.encode()) <= _NAME_BYTES:
        return name
    stem, suffix = _split(name)
    suffix = suffix if len(suffix.encode()) <= 20 else ""
    return stem.encode()[: _NAME_BYTES - len(suffix.encode())].decode("utf-8", "ignore").rstrip(" .") + suffix


def distinct(names: Iterable[str]) -> list[str]:
    """Returns plain names, the second of one name with `-2` before its ending, the third with `-3`, and so on.

    Letter case alone makes no difference, as on some disks.
    """
    given: set[str] = set()
    told: list[str] = []
    for name in map(plain_name, names):
        stem, suffix = _split(name)
        free, number = name, 1
        while free.casefold() in given:
            number += 1
            free = f"{stem}-{number}{suffix}"
        given.add(free.casefold())
        told.append(free)
    return told


def _split(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem else (name, "")


def plain_type(media_type: str) -> str:
    """Returns a media type as it was given, or that of any bytes where it is none."""
    return media_type if _TYPE.fullmatch(media_type) else "application/octet-stream"
