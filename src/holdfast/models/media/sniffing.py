"""What bytes are, and how large a picture they hold, read from the first of them and nothing else.

A declared type is a claim of whoever made it up; the bytes decide. Nothing is decoded here, so that it may be done on
the event loop with anybody's bytes: each function looks at a bounded number of places, whatever the file says of its
own parts. So a picture may be well formed at its beginning and damaged behind it; whoever decodes it finds out.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ("MediaKind", "Sniffed", "moves", "scans", "sniff")

MediaKind = Literal[
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/bmp",
    "image/tiff",
    "image/heic",
    "image/avif",
    "application/pdf",
    "text/plain",
]

_STEPS = 5_000
"""Parts of a file that are looked at; a photograph has fewer than a hundred before its size is known."""
_PDF_WITHIN = 1024
"""A PDF may have other bytes before its first line; readers look this far (source: ISO 32000-1, annex H)."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG that say its size."""
_BARE = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers of a JPEG without a length behind them."""
_BRANDS: dict[bytes, MediaKind] = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "image/heic"),
}
_BITMAP_HEADERS = frozenset((12, 40, 52, 56, 64, 108, 124))


class Sniffed(msgspec.Struct, frozen=True, gc=False):
    """What bytes are."""

    kind: MediaKind
    width: int = 0
    """Pixels; 0 where the bytes do not say, as in a damaged picture, or where it was not looked for."""
    height: int = 0

    @property
    def pixels(self) -> int:
        """How many it would have decoded."""
        return self.width * self.height


def sniff(data: bytes) -> Sniffed | None:
    """Returns what the bytes are; None when they are nothing that is known here.

    The sizes of TIFF, HEIC and AVIF are not looked for.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _sized("image/png", _png(data))
    if data.startswith(b"\xff\xd8\xff"):
        return _sized("image/jpeg", _jpeg(data))
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _sized("image/gif", _gif(data))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _sized("image/webp", _webp(data))
    if data[:2] == b"BM" and _little(data, 14, 4) in _BITMAP_HEADERS:
        return _sized("image/bmp", _bmp(data))
    kind = _other(data)
    return None if kind is None else Sniffed(kind)


def _sized(kind: MediaKind, size: tuple[int, int]) -> Sniffed:
    return Sniffed(kind, *size) if all(size) else Sniffed(kind)  # half a size is the end of a file that was cut off


def _other(data: bytes) -> MediaKind | None:
    if data.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        return "image/tiff"
    if data[4:8] == b"ftyp" and (brand := _BRANDS.get(data[8:12])):
        return brand
    if b"%PDF-" in data[:_PDF_WITHIN]:
        return "application/pdf"
    if data and b"\x00" not in data:
        try:
            data.decode()
        except UnicodeDecodeError:
            return None
        return "text/plain"
    return None


def _little(data: bytes, at: int, size: int) -> int:
    """Returns a number whose lowest byte is first; 0 where the bytes end before it."""
    found = data[at : at + size]
    return int.from_bytes(found, "little") if len(found) == size else 0


def _big(data: bytes, at: int, size: int) -> int:
    found = data[at : at + size]
    return int.from_bytes(found, "big") if len(found) == size else 0


def _png(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        return 0, 0
    return _big(data, 16, 4), _big(data, 20, 4)


def _jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    for _ in range(_STEPS):
        if data[at : at + 1] != b"\xff":
            return 0, 0
        marker = _big(data, at + 1, 1)
        if marker == 0xFF:  # markers may be padded
            at += 1
        elif marker in _FRAMES:
            return _big(data, at + 7, 2), _big(data, at + 5, 2)
        elif marker in _BARE:
            at += 2
        else:
            length = _big(data, at + 2, 2)
            if length < 2 or marker in (0xD9, 0xDA):  # the end, or pixels before anybody said how many
                return 0, 0
            at += 2 + length
    return 0, 0


def _gif(data: bytes) -> tuple[int, int]:
    """Returns a size that holds the screen and the first frame, because decoders make room for both."""
    width, height = _little(data, 6, 2), _little(data, 8, 2)
    at, _ = _next_frame(data, _after_table(data, 10, 13), _STEPS)
    if not at or not width or not height:
        return 0, 0
    return (
        max(width, _little(data, at + 1, 2) + _little(data, at + 5, 2)),
        max(height, _little(data, at + 3, 2) + _little(data, at + 7, 2)),
    )


def _after_table(data: bytes, flags_at: int, at: int) -> int:
    """Returns where a colour table ends, if the flags say that there is one."""
    flags = _big(data, flags_at, 1)
    return at + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)


def _next_frame(data: bytes, at: int, steps: int) -> tuple[int, int]:
    """Returns where the next frame of a GIF begins, 0 if nowhere, and how many steps are left."""
    while steps > 0:
        steps -= 1
        what = data[at : at + 1]
        if what == b",":
            return at, steps
        if what != b"!":
            return 0, steps
        at, steps = _after_blocks(data, at + 2, steps)
    return 0, 0


def _after_blocks(data: bytes, at: int, steps: int) -> tuple[int, int]:
    """Returns where a chain of blocks ends."""
    while steps > 0 and (size := _big(data, at, 1)):
        steps -= 1
        at += 1 + size
    return at + 1, steps


def _webp(data: bytes) -> tuple[int, int]:
    first = data[12:16]
    if first == b"VP8X" and len(data) >= 30:
        return _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
    if first == b"VP8L" and data[20:21] == b"\x2f" and len(data) >= 25:
        bits = _little(data, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if first == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
    return 0, 0


def _bmp(data: bytes) -> tuple[int, int]:
    if _little(data, 14, 4) == 12:
        return _little(data, 18, 2), _little(data, 20, 2)
    height = _little(data, 22, 4)
    return _little(data, 18, 4), height if height < 1 << 31 else (1 << 32) - height  # a negative one is upside down


def moves(data: bytes, kind: MediaKind) -> bool:
    """Returns whether a GIF, PNG or WebP has more than one frame; True where that takes too long to find out."""
    if kind == "image/webp":
        return data[12:16] == b"VP8X" and bool(_big(data, 20, 1) & 0x02)
    if kind == "image/png":
        return _png_moves(data)
    return kind == "image/gif" and _gif_moves(data)


def _png_moves(data: bytes) -> bool:
    at = 8
    for _ in range(_STEPS):
        name = data[at + 4 : at + 8]
        if name == b"acTL":
            return _big(data, at + 8, 4) > 1
        if name in (b"IDAT", b""):
            return False
        at += 12 + _big(data, at, 4)
    return True


def _gif_moves(data: bytes) -> bool:
    steps = 4 * _STEPS  # a picture of 5 MB in one frame has that many blocks
    at, steps = _next_frame(data, _after_table(data, 10, 13), steps)
    if not at:
        return steps == 0
    at, steps = _after_blocks(data, _after_table(data, at + 9, at + 10) + 1, steps)
    at, steps = _next_frame(data, at, steps)
    return bool(at) or steps == 0


def scans(data: bytes) -> int:
    """Returns at most how often a decoder of this JPEG goes over all of its pixels.

    A progressive one holds several scans, about ten. Each costs as much as the whole picture however few bytes it has.
    """
    return data.count(b"\xff\xda")
