"""What a person typed in earlier talks: a file of their own, a line of JSON for each message.

A file that cannot be read or written costs the history and nothing else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import final

import msgspec
from prompt_toolkit.history import History

__all__ = ("HistoryFile",)

_MOST = 1024 * 1024
"""Bytes above which the oldest half is forgotten."""


@final
class HistoryFile(History):
    """Remembers what was typed over sessions; nobody else may read it."""

    def __init__(self, path: Path) -> None:
        """Remembers in that file, which is made when there is something to remember."""
        super().__init__()
        self._path = path

    def load_history_strings(self) -> Iterable[str]:
        """Returns what is remembered, the newest first; damaged lines are passed over."""
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return []
        found: list[str] = []
        for line in reversed(lines):
            with contextlib.suppress(msgspec.MsgspecError):
                found.append(msgspec.json.decode(line, type=str))
        return found

    def store_string(self, string: str) -> None:
        """Remembers one message."""
        line = msgspec.json.encode(string.encode("utf-8", "replace").decode()) + b"\n"
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._shorten()
            self._write(self._path, line, os.O_APPEND)

    def _shorten(self) -> None:
        if not self._path.exists() or self._path.stat().st_size < _MOST:
            return
        lines = self._path.read_bytes().splitlines(keepends=True)
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        self._write(beside, b"".join(lines[len(lines) // 2 :]), os.O_TRUNC)
        beside.replace(self._path)

    @staticmethod
    def _write(path: Path, data: bytes, how: int) -> None:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | how | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            os.fchmod(file, 0o600)  # an older file may have been made by hand
            os.write(file, data)
        finally:
            os.close(file)
