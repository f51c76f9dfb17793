"""Secrets in files, as container platforms mount them: one file for each value."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import final

from holdfast.errors import UsageError
from holdfast.safety.secrets.port import Reference, Resolver

__all__ = ("FileSecrets",)

_MOST = 64 * 1024
"""Bytes of a secret."""


@final
class FileSecrets(Resolver):
    """Finds `namespace/name:key` in `<folder>/namespace/name/key`, and `name` also in `<folder>/name`."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    async def resolve(self, reference: Reference) -> str | None:
        """Returns what the file holds, without the new line at its end; None where there is no such file.

        Raises:
            UsageError: it is there and cannot be read, others than its owner may write it, or it is too large or no
                text.
        """
        place = self._folder / reference.namespace / reference.name
        try:
            if place.is_dir():
                return _read(place / reference.key)
            return _read(place) if reference.key == "value" else None
        except OSError as error:
            where = f"the secret {str(reference)!r} in {str(self._folder)!r}"
            raise UsageError(f"{where} cannot be read ({error.strerror}): make it a file that may be") from None


def _read(path: Path) -> str | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(file, "rb") as opened:
        there = os.fstat(opened.fileno())
        if not stat.S_ISREG(there.st_mode):
            raise UsageError(f"the secret {str(path)!r} is no file: put its value into one")
        if there.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UsageError(f"others may write the secret {str(path)!r}: take that right from them (chmod go-w)")
        data = opened.read(_MOST + 1)
    if len(data) > _MOST:
        raise UsageError(f"the secret {str(path)!r} is over {_MOST // 1024} KiB: is it the right file?")
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError(f"the secret {str(path)!r} is no text: encode it, for example as base64") from None
