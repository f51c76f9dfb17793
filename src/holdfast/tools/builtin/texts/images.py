"""What picture a file holds, told by its first bytes; the picture itself is not decoded."""

from __future__ import annotations

import struct

__all__ = ("ENOUGH", "describe_image")

ENOUGH = 1 << 16
"""Bytes from the beginning that are looked at."""


def describe_image(beginning: bytes) -> str:
    """Returns for example `PNG image of 640 x 480 pixels`; empty when it is none of the common kinds."""
    for kind, size in (("PNG", _png), ("GIF", _gif), ("JPEG", _jpeg), ("WebP", _webp), ("BMP", _bmp)):
        try:
            found = size(beginning[:ENOUGH])
        except (struct.error, IndexError):
            return f"{kind} image"
        if found:
            return f"{kind} image of {found[0]} x {found[1]} pixels"
    return ""


def _png(data: bytes) -> tuple[int, int] | None:
    return struct.unpack_from(">II", data, 16) if data.startswith(b"\x89PNG\r\n\x1a\n") else None


def _gif(data: bytes) -> tuple[int, int] | None:
    return struct.unpack_from("<HH", data, 6) if data[:6] in (b"GIF87a", b"GIF89a") else None


def _bmp(data: bytes) -> tuple[int, int] | None:
    if not data.startswith(b"BM") or data[6:10] != bytes(4):
        return None
    width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height)


def _webp(data: bytes) -> tuple[int, int] | None:
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _jpeg(data: bytes) -> tuple[int, int] | None:
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    raise IndexError(at)
