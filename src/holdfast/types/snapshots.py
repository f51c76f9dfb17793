"""A name for how a workspace was, and what became of it since."""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.types.ids import Digest

__all__ = ("Change", "ChangeKind", "Changes", "FaultClass", "FileState", "NodeKind", "SnapshotRef", "shown")

FaultClass = Literal["nothing", "process", "host", "power"]
"""What something that is kept survives: `process`, that ours is killed; `power`, that the machine loses its power, too,
since it was synced; `host`, that the machine is lost, since it is elsewhere as well."""

NodeKind = Literal["file", "link", "folder", "special"]
"""What a name stands for; `special` is a FIFO, a socket or a device."""

ChangeKind = Literal["added", "removed", "modified", "mode", "type"]
"""`modified` is other bytes or another target, `mode` other permissions alone, `type` another kind of thing."""


class SnapshotRef(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Where a snapshot is found again; its manifest is a blob."""

    store: str
    """The kind of store that made it, for example `tree`."""
    manifest: Digest
    paths: tuple[str, ...] = ()
    """What it covers, relative to the workspace, unless it covers everything."""
    whole: bool = False
    """Whether it covers the whole tree; then `paths` is empty."""


class FileState(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What stood at a path."""

    kind: NodeKind
    mode: int = 0
    """Permission bits; 0 for links."""
    size: int = 0
    """Bytes; 0 for what is no file."""
    digest: Digest = Digest("")
    """Of a file's content; of a large file, of the list of its pieces. Good for comparing, within one store."""
    target: str = ""
    """Where a link points."""


class Change(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One path that is not as it was."""

    path: str
    """Relative to the workspace, as `os.fsdecode` gives it: `shown` makes it fit to print or encode."""
    kind: ChangeKind
    before: FileState | None = None
    """None when it was added."""
    after: FileState | None = None
    """None when it was removed."""


Changes = tuple[Change, ...]
"""Every path that is not as it was, sorted; of an added or removed folder also all that is in it."""


def shown(path: str) -> str:
    """Returns a path as text that can be printed and encoded: quoted and escaped where it holds anything odd."""
    if path.isprintable() and not path.startswith('"'):
        return path
    escaped = "".join(_escape(letter) for letter in path)
    return f'"{escaped}"'


def _escape(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    if "\udc80" <= letter <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
