"""What a target takes: types, sizes and numbers of pictures and documents, for each provider.

Sizes of files are counted as they are sent, which is in base64. Not here: which of a provider's models see pictures at
all; the catalogue knows, and whoever makes the limits of one model replaces `image_types` with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast.errors import UsageError
from holdfast.types import ImageType

__all__ = ("LIMITS", "MOST_PIXELS", "MediaLimits", "as_sent", "limits_of", "scaled_to")

MOST_PIXELS = 64_000_000
"""Pixels above which no picture is decoded here: with all its copies one of this size takes half a gigabyte."""

_MIB = 1024 * 1024
_ROOM = 4_000_000
"""Bytes left to the words and tools of a request, where a provider bounds all of it."""
_PICTURES: tuple[ImageType, ...] = ("image/png", "image/jpeg", "image/gif", "image/webp")


def as_sent(size: int) -> int:
    """Returns how many bytes so many are in base64."""
    return (size + 2) // 3 * 4


class MediaLimits(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one target takes; as it is, what is sane for one of which nothing is known.

    Raises:
        UsageError: a bound is below what any picture or document has.
    """

    image_types: tuple[ImageType, ...] = _PICTURES
    """The kinds of picture it reads, best first; empty where it sees none."""
    image_bytes: int = 5 * _MIB
    """Of one picture, as sent."""
    side: int | None = 8000
    """Pixels of a picture's longer side; None is no bound."""
    pixels: int | None = None
    """Pixels of a whole picture; None is no bound."""
    images: int = 100
    """Pictures of one request."""
    many: int | None = None
    """With more pictures than this in a conversation each is bounded by `many_side`; None for targets without that."""
    many_side: int = 2000
    animated: bool = True
    """Whether a picture may have several frames."""
    pdf: bool = True
    """Whether it reads PDF documents."""
    pdf_bytes: int = 28_000_000
    """Of one document, as sent."""
    request_bytes: int = 28_000_000
    """Of all pictures and documents of one request together, as sent."""

    def __post_init__(self) -> None:
        least = {"image_bytes": 2000, "pdf_bytes": 2000, "request_bytes": 2000, "images": 1, "many_side": 1}
        least |= {name: 1 for name in ("side", "pixels", "many") if getattr(self, name) is not None}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UsageError(f"{name} is {getattr(self, name)!r}: give at least {bound}")

    def side_among(self, images: int) -> int | None:
        """Returns the bound of each picture's longer side in a conversation with so many; None is no bound."""
        if self.many is None or images <= self.many:
            return self.side
        return self.many_side if self.side is None else min(self.side, self.many_side)


def scaled_to(width: int, height: int, side: int | None, pixels: int | None) -> tuple[int, int]:
    """Returns the size a picture has when it is made smaller until it fits; its own when it does already."""
    scale = 1.0
    if side is not None:
        scale = min(scale, side / max(width, height))
    if pixels is not None:
        scale = min(scale, (pixels / (width * height)) ** 0.5)
    if scale == 1.0:
        return width, height
    wide, high = max(1, int(width * scale)), max(1, int(height * scale))
    if pixels is not None and wide * high > pixels:  # a line, whose shorter side is as short as can be
        wide, high = (1, pixels) if wide == 1 else (pixels, 1)
    return wide, high


LIMITS: Mapping[str, MediaLimits] = {
    # Vision guide: 5 MB in base64, 8,000 px, 2,000 px with more than 20 pictures, 100 pictures for models with a
    # window of 200,000 tokens; requests of 32 MB.
    "anthropic": MediaLimits(many=20),
    # Reference of Converse, `Message`: 3.75 MB before base64, 8,000 px, 20 pictures, documents of 4.5 MB. Requests of
    # 20 MB, says Anthropic's vision guide.
    "bedrock": MediaLimits(
        images=20,
        pdf_bytes=as_sent(9 * _MIB // 2),
        request_bytes=20_000_000 - _ROOM,
    ),
    # Images and vision guide: no animated GIF, 500 pictures, 50 MB of them in a request, 20 MB each. Large ones are
    # made smaller there.
    "openai": MediaLimits(
        image_bytes=20_000_000,
        side=None,
        images=500,
        animated=False,
        pdf_bytes=46_000_000,
        request_bytes=50_000_000 - _ROOM,
    ),
    # Quotas page of Azure OpenAI: 50 pictures.
    "azure": MediaLimits(
        image_bytes=20_000_000,
        side=None,
        images=50,
        animated=False,
        pdf_bytes=46_000_000,
        request_bytes=50_000_000 - _ROOM,
    ),
    # Image understanding guide: no GIF; 7 MB inline each, in a request of 20 MB at most; 3,000 pictures.
    "google": MediaLimits(
        image_types=("image/png", "image/jpeg", "image/webp"),
        image_bytes=as_sent(7_000_000),
        side=None,
        images=3000,
        animated=False,
        request_bytes=20_000_000 - _ROOM,
    ),
    # Image inputs guide: 20 pictures and 20 MB of them in a request, no animated GIF.
    "cohere": MediaLimits(images=20, animated=False, pdf=False, request_bytes=20_000_000),
    # Vision guide: 4 MB in base64, 33 megapixels, 5 pictures.
    "groq": MediaLimits(
        image_types=("image/png", "image/jpeg", "image/webp"),
        image_bytes=4_000_000,
        pixels=33_177_600,
        images=5,
        animated=False,
        pdf=False,
        request_bytes=4_000_000,
    ),
    # Vision guide: 10 MB, 8 pictures, no animated GIF.
    "mistral": MediaLimits(image_bytes=10_000_000, images=8, animated=False, pdf=False),
    # Image understanding guide: JPEG and PNG, 20 MiB.
    "xai": MediaLimits(image_types=("image/png", "image/jpeg"), image_bytes=20 * _MIB, side=None, pdf=False),
    # What its runners decode, whatever the model.
    "ollama": MediaLimits(image_types=("image/png", "image/jpeg"), pdf=False),
}
"""By the name in front of a model's first slash."""

_UNKNOWN = MediaLimits()


def limits_of(provider: str) -> MediaLimits:
    """Returns what a provider takes; bounds that most would take where nothing is known of it."""
    return LIMITS.get(provider, _UNKNOWN)
