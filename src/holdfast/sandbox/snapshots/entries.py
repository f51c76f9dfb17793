"""What a snapshot of a tree consists of: a manifest, a blob for each folder, and the contents of files.

A folder's blob lists its names in the order of their bytes, each with kind, mode and what it holds; a folder within
it is there by the digest of its own blob. So equal folders are one blob, wherever and whenever they stood, and two
trees are compared by looking only into what differs. A file over `CHUNK` bytes is there as the digest of a blob that
lists the digests of its pieces.

A blob may have come with a file that somebody wrote. So a folder is read only if each of its names is one that a
folder can have, and none leads to anywhere else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from holdfast.errors import SandboxError
from holdfast.types import Digest, FileState
from holdfast.types.snapshots import NodeKind

__all__ = (
    "CHUNK",
    "Entry",
    "Manifest",
    "decode_chunks",
    "decode_folder",
    "decode_manifest",
    "encode_chunks",
    "encode_folder",
    "encode_manifest",
    "is_name",
    "is_target",
    "kind_of",
    "state_of",
)

T = TypeVar("T")

CHUNK = 4 * 1024 * 1024
"""Bytes of a file that are one blob; what is larger is kept in pieces of this size."""

_VERSION = 2
_FOLDER = 1


class Entry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A name in a folder."""

    name: bytes
    kind: NodeKind
    mode: int = 0
    """Permission bits as they were, with setuid, setgid and sticky; 0 for links."""
    size: int = 0
    digest: Digest = Digest("")
    """Of a file's content, of the list of its pieces, or of a folder's blob."""
    pieces: bool = False
    """Whether the digest is that of a list of pieces."""
    target: bytes = b""


class Manifest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The root of a whole tree."""

    v: int = _VERSION
    root: Digest
    mode: int
    files: int
    """How many names of every kind the tree has."""
    size: int
    """Bytes in its files."""


class _Folder(msgspec.Struct, frozen=True, gc=False, array_like=True):
    v: int
    entries: tuple[Entry, ...]


_pack = msgspec.msgpack.Encoder().encode
_unpack_folder = msgspec.msgpack.Decoder(_Folder).decode
_unpack_chunks = msgspec.msgpack.Decoder(tuple[Digest, ...]).decode
_read_manifest = msgspec.json.Decoder(Manifest).decode


def encode_folder(entries: Iterable[Entry]) -> bytes:
    """Returns the blob of a folder with these names."""
    return _pack(_Folder(_FOLDER, tuple(sorted(entries, key=lambda entry: entry.name))))


def decode_folder(data: bytes) -> tuple[Entry, ...]:
    """Returns the names in a folder's blob.

    Raises:
        SandboxError: it is none, or of a later version, or holds what no folder can: a name that is none or leads
            elsewhere, one that is there twice or out of order, a link to nowhere.
    """
    folder = _decoded(_unpack_folder, data)
    if folder.v != _FOLDER:
        raise SandboxError(f"a folder of version {folder.v} is in the snapshot: use a newer Holdfast to read it")
    before = b""
    for entry in folder.entries:
        if entry.name <= before or not is_name(entry.name) or (entry.kind == "link" and not is_target(entry.target)):
            raise SandboxError(
                f"the snapshot cannot be read: a folder of it holds {entry.name!r}, which no folder can hold there; "
                "nothing of it is put anywhere. Whoever made it meant harm, or it is damaged: use another one"
            )
        before = entry.name
    return folder.entries


def is_name(name: bytes | str) -> bool:
    """Returns whether this is one name in a folder, and no way to anywhere else."""
    if isinstance(name, str):
        return bool(name) and name not in (".", "..") and "/" not in name and "\0" not in name
    return bool(name) and name not in (b".", b"..") and b"/" not in name and b"\0" not in name


def is_target(target: bytes) -> bool:
    """Returns whether a link can point there."""
    return bool(target) and b"\0" not in target


def encode_chunks(digests: Iterable[Digest]) -> bytes:
    """Returns the blob that lists a file's pieces."""
    return _pack(tuple(digests))


def decode_chunks(data: bytes) -> tuple[Digest, ...]:
    """Returns a file's pieces.

    Raises:
        SandboxError: this is no list of pieces.
    """
    return _decoded(_unpack_chunks, data)


def encode_manifest(manifest: Manifest) -> bytes:
    """Returns the blob of a manifest."""
    return msgspec.json.encode(manifest)


def decode_manifest(data: bytes) -> Manifest:
    """Returns the manifest of a whole tree.

    Raises:
        SandboxError: it is none, or of a later version.
    """
    manifest = _decoded(_read_manifest, data)
    if manifest.v != _VERSION:
        raise SandboxError(f"the snapshot's manifest is of version {manifest.v}: use a newer Holdfast to read it")
    return manifest


def kind_of(mode: int) -> NodeKind:
    """Returns what a mode, as `os.stat` gives it, says there is."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "special"


def state_of(entry: Entry) -> FileState:
    """Returns what the entry says outside this package."""
    digest = entry.digest if entry.kind == "file" else Digest("")
    return FileState(entry.kind, entry.mode, entry.size, digest, os.fsdecode(entry.target))


def _decoded(decode: Callable[[bytes], T], data: bytes) -> T:
    try:
        return decode(data)
    except msgspec.MsgspecError as error:
        raise SandboxError(f"the snapshot cannot be read: {error}; it is damaged, or no snapshot of a tree") from None
