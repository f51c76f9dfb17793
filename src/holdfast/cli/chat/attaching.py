"""Images and PDF documents in a message: files that were dropped on the terminal, pasted as a path, or named with `@`.

A path in the middle of a sentence counts only when it is marked with `@`, quoted, absolute or a `file:` address: who
asks for "logo.png to be smaller" has not attached it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from holdfast.cli.attached import is_file

__all__ = ("SUFFIXES", "find_attached", "place")

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf")
"""How the names of files end that models take."""

_TOKEN = re.compile(r"""@?'(?P<single>[^'\n]+)'|@?"(?P<double>[^"\n]+)"|(?P<bare>(?:\\.|[^\s'"\\])+)""")


def find_attached(text: str, folder: Path) -> list[Path]:
    """Returns the images and PDF files that a message names, each once; relative names are in `folder`."""
    found: list[Path] = []
    for path in _named(text, folder):
        if path.suffix.lower() in SUFFIXES and path not in found and is_file(path):
            found.append(path)
    return found


def _named(text: str, folder: Path) -> Iterator[Path]:
    for token in _TOKEN.finditer(text):
        quoted, bare = token["single"] or token["double"], token["bare"] or ""
        if quoted is not None:
            yield place(quoted, folder)
        elif bare.startswith("@"):
            yield place(_unescaped(bare[1:]).rstrip(",;:!?)"), folder)
        elif bare.startswith("file://"):
            yield Path(unquote(urlsplit(bare).path))
        elif bare.startswith(("/", "~/")):
            yield place(_unescaped(bare).rstrip(",;:!?)"), folder)


def place(name: str, folder: Path) -> Path:
    """Returns where a name leads that a person wrote in a folder: `~` is their home."""
    try:
        return folder / Path(name).expanduser()
    except RuntimeError:  # nobody has that home
        return folder / name


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)
