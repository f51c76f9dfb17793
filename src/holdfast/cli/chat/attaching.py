"""Images and PDF documents in a message: files that were dropped on the terminal, pasted as a path, or named with `@`.

A path in the middle of a sentence counts only when it is marked with `@`, quoted, absolute or a `file:` address: who
asks for "logo.png to be smaller" has not attached it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from holdfast.errors import UsageError
from holdfast.types import DOCUMENT_BYTES, IMAGE_BYTES, Document, Image, ImageType

__all__ = ("SUFFIXES", "attach", "find_attached", "place")

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf")
"""How the names of files end that models take."""

_TOKEN = re.compile(r"""@?'(?P<single>[^'\n]+)'|@?"(?P<double>[^"\n]+)"|(?P<bare>(?:\\.|[^\s'"\\])+)""")
_STARTS: dict[bytes, ImageType] = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}


def find_attached(text: str, folder: Path) -> list[Path]:
    """Returns the images and PDF files that a message names, each once; relative names are in `folder`."""
    found: list[Path] = []
    for path in _named(text, folder):
        if path.suffix.lower() in SUFFIXES and path not in found and _is_file(path):
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


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long for one, or a folder that must not be looked into
        return False


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)


def attach(path: Path) -> Image | Document:
    """Returns a file as a part of a message.

    Raises:
        UsageError: it is no file, nothing that models take, or too large; the message says what helps.
    """
    name = path.name
    if not _is_file(path):  # nor is a FIFO one, which would be waited for
        raise UsageError(f"there is no file {name!r}: drop the image on this window, or type its path")
    try:
        with path.open("rb") as file:
            data = file.read(DOCUMENT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the file {name!r} cannot be read: {error.strerror}") from error
    kind = _image(data)
    part = None
    if kind is not None:
        part = Image(kind, data, path.name)
    elif data.startswith(b"%PDF-"):
        part = Document("application/pdf", data, path.name)
    if part is None:
        raise UsageError(f"{name!r} is no PNG, JPEG, GIF, WebP or PDF, which is what models take: convert it first")
    most = IMAGE_BYTES if isinstance(part, Image) else DOCUMENT_BYTES
    if len(data) > most:
        size, bound = path.stat().st_size / 1e6, most / 1e6
        raise UsageError(f"{name!r} has {size:.1f} MB, and models take {bound:.1f} MB at most: make it smaller first")
    return part


def _image(data: bytes) -> ImageType | None:
    """Returns what the bytes are, whatever the name says: a wrong kind is refused by the provider, in its own words."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _STARTS.items() if data.startswith(start)), None)
