"""Files that go along with a message: images and PDF documents as parts of it, others to be read with tools."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.types import DOCUMENT_BYTES, IMAGE_BYTES, Document, Image, ImageType

__all__ = ("attach", "is_file", "sort_out")

_STARTS: dict[bytes, ImageType] = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}


def is_file(path: Path) -> bool:
    """Returns whether there is a file; False where nobody may look."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long for one, or a folder that must not be looked into
        return False


def attach(path: Path) -> Image | Document:
    """Returns a file as a part of a message.

    Raises:
        UsageError: it is no file, nothing that models take, or too large; the message says what helps.
    """
    name = path.name
    if not is_file(path):  # nor is a FIFO one, which would be waited for
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


def sort_out(paths: Iterable[Path]) -> tuple[list[Image | Document], list[Path]]:
    """Returns the images and PDF files that models take, as parts of a message, and all other files, to be read with
    tools.
    """
    parts: list[Image | Document] = []
    others: list[Path] = []
    for path in paths:
        try:
            parts.append(attach(path))
        except UsageError:
            others.append(path)  # one that cannot be read at all is refused there
    return parts, others


def _image(data: bytes) -> ImageType | None:
    """Returns what the bytes are, whatever the name says: a wrong kind is refused by the provider, in its own words."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _STARTS.items() if data.startswith(start)), None)
