"""Files that a run is given: kept as blobs, and named to the model, which reads as much of them as it wants.

Their bytes are in no prompt and in no event. All are looked at before the first is kept.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from holdfast.errors import InputTooLarge, UsageError
from holdfast.storage.blobs import BlobStore
from holdfast.tools.attaching import MOST, check_size, stored_file
from holdfast.types import FILE_BYTES, Attachment, TenantId, Text, UserMessage, UserPart, distinct

__all__ = ("InputFile", "stage", "with_files")

InputFile = str | Path | tuple[str, bytes]
"""A file by its path, or by a name and its bytes."""


async def stage(blobs: BlobStore, tenant: TenantId, files: Sequence[InputFile]) -> tuple[Attachment, ...]:
    """Returns the files as the log refers to them, each with a name of its own, their bytes kept.

    Raises:
        InputTooLarge: one has more than 50 MB; nothing was kept.
        UsageError: one cannot be read, is no file, or there are too many; nothing was kept.
    """
    if len(files) > MOST:
        raise UsageError(f"{len(files)} files were given and {MOST} are allowed: put them into the workspace")
    for each in files:
        if isinstance(each, tuple):
            check_size(each[0], len(each[1]))
        else:
            await asyncio.to_thread(_check, Path(each))
    names = distinct([each[0] if isinstance(each, tuple) else Path(each).name for each in files])
    staged: list[Attachment] = []
    for name, each in zip(names, files, strict=True):
        data = bytes(each[1]) if isinstance(each, tuple) else await asyncio.to_thread(_read, Path(each))
        staged.append(await stored_file(blobs, tenant, name, data))
    return tuple(staged)


def with_files(message: UserMessage, files: Iterable[Attachment], *, readable: bool) -> UserMessage:
    """Returns what was said with a block behind it that names the files, and says how they are read if they can be."""
    lines = ["[ATTACHED FILES]"]
    for file in files:
        how = f'read(path="blob:{file.digest}")' if readable else f"blob:{file.digest}"
        lines.append(f"- {file.name} ({file.media_type}, {file.size:,} bytes): {how}")
    lines.append("[END OF ATTACHED FILES]")
    parts: tuple[UserPart, ...] = (*message.parts, Text("\n\n" + "\n".join(lines)))
    return UserMessage(parts)


def _check(path: Path) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise UsageError(f"the file {str(path)!r} cannot be attached: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{str(path)!r} is no file: attach files one by one, or put a folder into an archive")
    check_size(path.name, status.st_size)


def _read(path: Path) -> bytes:
    """Returns all of a file that was a regular one of a fitting size when it was looked at, and may have changed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - what was opened is what is looked at
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UsageError(f"{str(path)!r} is no file any more: attach it again")
            data = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the file {str(path)!r} cannot be attached: {error.strerror}") from error
    if len(data) > FILE_BYTES:
        raise InputTooLarge(f"the file {path.name!r} has grown over {FILE_BYTES:,} bytes: split it")
    return data
