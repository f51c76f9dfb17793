"""Pillow, which is used here and nowhere else: makes one picture smaller, or a picture of another type.

It is an extra, so this module is imported when it is needed, in a thread. What comes in is anybody's bytes, so each is
opened as the one kind that its first bytes say, which keeps Pillow's many rarer readers out of reach, and whoever
calls has bounded how many pixels those bytes may become. What goes out is new: one frame, upright, at most eight bits
in a channel, and nothing of what a camera wrote into the file, such as where it was.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

import PIL.Image
from PIL import features

from holdfast.models.media.limits import MOST_PIXELS, MediaLimits, scaled_to
from holdfast.models.media.sniffing import Sniffed
from holdfast.types import Image, ImageType

__all__ = ("READ", "remake")

READ = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WEBP", "image/bmp": "BMP"}
"""What is read here, by Pillow's names."""

_QUALITY = 85
_LADDER = (65, 45, 30)
"""Worse qualities, tried in this order before the picture is made smaller (source: majordomo, B1)."""
_HALVINGS = 6
_LONGEST = 16_383
"""Pixels of the longer side of anything that is made here: the most that each of the four types can hold."""

_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
    struct.error,
    zlib.error,
    PIL.Image.DecompressionBombError,
)
"""What Pillow's readers raise over damaged files, which is whatever their parsing came across."""

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
"""What undoes each orientation that EXIF knows."""


class _Full(Exception):
    """A file has become larger than it may be."""


class _Bounded(io.BytesIO):
    """A file in memory that ends its own writing where it gets too large, instead of letting it use up memory."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        if self.tell() + len(data) > self._most:
            raise _Full
        return super().write(data)


def remake(picture: Image, seen: Sniffed, limits: MediaLimits, side: int | None) -> Image | str:
    """Returns a picture that is within the limits, or why there is none.

    Its type is the first that gives few enough bytes: its own, PNG where it is see-through, JPEG, PNG, then what else
    is taken. If none does, JPEG gets worse in steps, and then all of it begins again at half the size.
    """
    try:
        image = _decoded(picture.data, seen, limits, min(side or _LONGEST, _LONGEST))
        return _encoded(image, picture, seen, limits)
    except _FAULTS as error:
        return f"it is damaged ({type(error).__name__})"


def _decoded(data: bytes, seen: Sniffed, limits: MediaLimits, side: int) -> PIL.Image.Image:
    """Returns its first frame, upright, as small as it has to be, as L, RGB or RGBA."""
    with PIL.Image.open(io.BytesIO(data), formats=[READ[seen.kind]]) as file:
        if file.width * file.height > MOST_PIXELS:
            raise ValueError("more pixels than it said at first")
        box = scaled_to(file.width, file.height, side, limits.pixels)
        file.draft(None, box)  # a JPEG can be decoded at a half, a quarter or an eighth, for a fraction of the work
        file.load()
        if seen.kind == "image/png" and data[24:25] == b"\x10":
            file.info.pop("transparency", None)  # a colour in 16 bits, which in 8 would be another one
        turn = _turn_of(file)
        image = _plain(file)
    if image.size != box:
        image = image.resize(box, PIL.Image.Resampling.BOX)
    return image if turn is None else image.transpose(turn)


def _turn_of(file: PIL.Image.Image) -> PIL.Image.Transpose | None:
    with suppress(*_FAULTS):  # what a camera wrote may be damaged in a picture that is whole
        said = file.getexif().get(_ORIENTATION)
        return _UPRIGHT.get(said) if isinstance(said, int) else None
    return None


def _plain(image: PIL.Image.Image) -> PIL.Image.Image:
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):  # 16 bits of grey, which a plain conversion would cut off at 255
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        lowest, _ = clear.getchannel("A").getextrema()
        return clear if lowest != 255 else clear.convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _encoded(image: PIL.Image.Image, picture: Image, seen: Sniffed, limits: MediaLimits) -> Image | str:
    most = min(limits.image_bytes, limits.request_bytes)
    most -= most % 4
    for halving in range(_HALVINGS + 1):
        if halving:
            image = image.resize((max(1, image.width // 2), max(1, image.height // 2)), PIL.Image.Resampling.BOX)
        for kind, quality in _ways(image, seen, limits):
            with suppress(_Full):
                return Image(kind, _saved(image, kind, quality, most // 4 * 3), picture.name)
        if image.size == (1, 1):
            break
    return f"it has more than {most:,} bytes in base64 even at {image.width:,} x {image.height:,} pixels"


def _ways(image: PIL.Image.Image, seen: Sniffed, limits: MediaLimits) -> Iterator[tuple[ImageType, int]]:
    """Yields types and qualities to try, one after another."""
    wanted: list[str] = [] if seen.kind == "image/gif" else [seen.kind]  # 256 colours are too few for averages
    if image.mode == "RGBA":
        wanted.append("image/png")
    wanted += ["image/jpeg", "image/png", *limits.image_types]
    taken: list[ImageType] = [kind for kind in limits.image_types if kind != "image/webp" or features.check("webp")]
    order: list[ImageType] = [kind for name in dict.fromkeys(wanted) for kind in taken if kind == name]
    for kind in order:
        yield kind, _QUALITY
    for kind in order:
        if kind in ("image/jpeg", "image/webp"):
            for quality in _LADDER:
                yield kind, quality


def _saved(image: PIL.Image.Image, kind: ImageType, quality: int, most: int) -> bytes:
    """Returns the file.

    Raises:
        _Full: it would have more bytes.
    """
    if kind == "image/jpeg" and image.mode == "RGBA":
        ground = PIL.Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    file = _Bounded(most)
    if kind in ("image/jpeg", "image/webp"):
        image.save(file, READ[kind], quality=quality)
    else:
        image.save(file, READ[kind])
    return file.getvalue()
