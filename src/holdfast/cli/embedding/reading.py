"""The texts that `holdfast embed rank` ranks: lines or whole files, and where each stands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from holdfast.cli.words import printable
from holdfast.errors import UsageError

__all__ = ("Piece", "read_pieces")

_MOST_BYTES = 256 * 1024 * 1024
"""Of all inputs together."""
_LOOKED_AT = 8192
"""Bytes in which a file that is no text shows it."""


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A line, or a file."""

    file: str
    """As it was named; `-` is standard input."""
    line: int
    """From 1; 0 for a whole file."""
    text: str


def read_pieces(names: tuple[str, ...], *, by_line: bool) -> tuple[list[Piece], list[str]]:
    """Returns what is to be ranked, without blanks, and the names of files that hold no text.

    Raises:
        UsageError: a file cannot be read, or all of them are too large together.
    """
    pieces: list[Piece] = []
    skipped: list[str] = []
    left = _MOST_BYTES
    for name in names:
        data = _read(name, left)
        left -= len(data)
        shown = os.fsencode(name).decode("utf-8", "replace")
        if b"\0" in data[:_LOOKED_AT]:
            skipped.append(shown)
            continue
        text = data.decode("utf-8-sig", "replace")
        if by_line:
            lines = enumerate(text.split("\n"), 1)
            pieces += [Piece(shown, number, words) for number, line in lines if (words := line.strip())]
        elif words := text.strip():
            pieces.append(Piece(shown, 0, words))
    return pieces, skipped


def _read(name: str, most: int) -> bytes:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(most + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(most + 1)
    except OSError as error:
        raise UsageError(f"{printable(name)!r} cannot be read ({error.strerror}); leave it out") from error
    if len(data) > most:
        raise UsageError(f"more than {_MOST_BYTES // 1024**2} MiB of text: rank fewer files at a time")
    return data
