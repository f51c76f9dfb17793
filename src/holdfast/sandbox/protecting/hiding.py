"""Finds what of a sandbox's mounts is to be covered, so that the runtime's own files are not seen in there.

A store may lie in a workspace, as it does where somebody works in the home folder. Whoever wrote to its file, or to the
journal that SQLite would play back into it, would write the log. So each of its names is covered, also one at which
there is nothing yet: an empty file is put there first, which SQLite takes for no journal at all. A name that nothing
covers could be made in a sandbox.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from holdfast.errors import SandboxError
from holdfast.sandbox.kernel.syscalls import open_beneath

__all__ = ("below", "hide")

_KINDS = ("ro", "rw", "layer")
"""Kinds of mounts that show what lies on the machine."""


def below(folder: str, paths: Collection[Path]) -> list[str]:
    """Returns those of the paths that lie in a folder, relative to it, but for those in others of them."""
    prefix = folder.rstrip("/") + "/"
    inside = sorted(str(each)[len(prefix) :] for each in paths if f"{each}".startswith(prefix))
    return [each for each in inside if not any(each.startswith(f"{other}/") for other in inside)]


def hide(mounts: Sequence[dict[str, Any]], paths: Mapping[Path, bool]) -> list[dict[str, Any]]:
    """Returns the mounts, each with what it is to hide, and without those that show one of the paths alone.

    Beside each path stands whether a folder belongs there.

    Raises:
        SandboxError: there is no room for what would cover a path.
    """
    kept: list[dict[str, Any]] = []
    for each in mounts:
        place = str(each["path"])
        if each["kind"] in _KINDS:
            if any(Path(place).is_relative_to(path) and not each.get("owned") for path in paths):
                continue
            if hidden := below(place, paths):
                for name in hidden:
                    _cover(os.path.join(place, name), is_folder=paths[Path(place, name)])
                each["hide"] = hidden
        kept.append(each)
    return kept


def _cover(path: str, *, is_folder: bool) -> None:
    """Puts something empty where there is nothing; no link on the way is followed."""
    above, _, name = path.rpartition("/")
    try:
        root = os.open("/", os.O_PATH | os.O_CLOEXEC)
        try:
            held = open_beneath(root, above.lstrip("/") or ".", os.O_RDONLY | os.O_DIRECTORY)
        finally:
            os.close(root)
        try:
            with suppress(FileExistsError):
                if is_folder:
                    os.mkdir(name, 0o700, dir_fd=held)
                else:
                    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=held))
        finally:
            os.close(held)
    except OSError as error:
        raise SandboxError(
            f"what is Holdfast's own in the workspace cannot be hidden ({path!r}: {error.strerror}): keep the store "
            "elsewhere (--store), or work in another folder"
        ) from error
