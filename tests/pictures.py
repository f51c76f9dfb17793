"""Pictures for tests: true ones of every kind, made by Pillow, and files that only claim to be some."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import PIL.Image

from holdfast.types import Document, Image, ImageType, Message, Text, UserMessage

__all__ = ("asked", "bomb", "chunk", "gif_of_frames", "opened", "pdf", "picture", "png_of_16_bits", "raw")

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WEBP", "image/bmp": "BMP"}


def raw(kind: str, width: int, height: int, mode: str = "RGB", *, noise: bool = False, **how: Any) -> bytes:
    """Returns a file: grey all over, or noise, which no encoding makes much smaller."""
    if noise:
        size = width * height * len(PIL.Image.new(mode, (1, 1)).tobytes())
        image = PIL.Image.frombytes(mode, (width, height), random.Random(width * height).randbytes(size))
    else:
        image = PIL.Image.new(mode, (width, height), 100 if len(mode) == 1 else tuple([100] * len(mode)))
    file = io.BytesIO()
    image.save(file, FORMATS[kind], **how)
    return file.getvalue()


def picture(
    kind: ImageType, width: int, height: int, mode: str = "RGB", *, name: str = "", noise: bool = False, **how: Any
) -> Image:
    """Returns one as a part of a message."""
    return Image(kind, raw(kind, width, height, mode, noise=noise, **how), name)


def opened(part: object) -> PIL.Image.Image:
    """Returns what Pillow makes of a part, decoded whole, of the type that it says."""
    assert isinstance(part, Image)
    image = PIL.Image.open(io.BytesIO(part.data), formats=[FORMATS[part.media_type]])
    image.load()
    return image


def chunk(name: bytes, data: bytes) -> bytes:
    """Returns a chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, depth: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + body


def bomb(width: int, height: int) -> bytes:
    """Returns a PNG with a true header and far too few pixels behind it."""
    return _png(width, height, 8, 6, b"\x00" * 100_000)


def png_of_16_bits(width: int, height: int, *more: bytes, colour: int = 0) -> bytes:
    """Returns a PNG whose left edge is black and whose right edge is white, in 16 bits of grey, or of each colour."""
    shades = [struct.pack(">H", 65535 * x // (width - 1)) * (1 if colour == 0 else 3) for x in range(width)]
    return _png(width, height, 16, colour, (b"\x00" + b"".join(shades)) * height, *more)


def gif_of_frames(frames: int, width: int = 4, height: int = 4) -> bytes:
    """Returns a GIF with so many frames, the first red and the others green."""
    file = io.BytesIO()
    first = PIL.Image.new("P", (width, height), 0)
    first.putpalette([255, 0, 0, 0, 255, 0])
    first.save(file, "GIF")
    whole = file.getvalue()
    at = whole.index(b",", 13 + 6)
    second = io.BytesIO()
    green = PIL.Image.new("P", (width, height), 1)
    green.putpalette([255, 0, 0, 0, 255, 0])
    green.save(second, "GIF")
    other = second.getvalue()
    other = other[other.index(b",", 13 + 6) : -1]
    assert at
    return whole[:-1] + other * (frames - 1) + b";"


def pdf(size: int = 2000, name: str = "") -> Document:
    """Returns a document with the first line of a PDF."""
    return Document("application/pdf", b"%PDF-1.7\n" + b"x" * (size - 9), name)


def asked(*parts: Image | Document | str) -> Message:
    """Returns what somebody says."""
    return UserMessage(tuple([Text(part) if isinstance(part, str) else part for part in parts]))
