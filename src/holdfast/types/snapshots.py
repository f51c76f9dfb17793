"""A name for how a workspace was."""

from __future__ import annotations

import msgspec

from holdfast.types.ids import Digest

__all__ = ("SnapshotRef",)


class SnapshotRef(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Where a snapshot is found again; its manifest is a blob."""

    store: str
    """The kind of store that made it, for example `tree`."""
    manifest: Digest
    paths: tuple[str, ...] = ()
    """What it covers, relative to the workspace; empty means everything."""
