"""One part of a message, made into what a target takes.

`settle` says at once what can be said without looking at pixels: that a part may stay as it is, that only its declared
type is wrong, or that nothing helps. What is left has to be decoded, which `fit` does as well; it takes as long as
that takes, so on an event loop it belongs into a thread (`preparing.py`).

Not here: which parts are sent at all (`newest.py`). A part is never changed: what does not stay is a new one.
"""

from __future__ import annotations

from typing import NoReturn

from holdfast.errors import MediaUnsupported
from holdfast.models.media.limits import MOST_PIXELS, MediaLimits, as_sent
from holdfast.models.media.sniffing import MediaKind, Sniffed, moves, scans, sniff
from holdfast.types import Document, Image, ImageType, UserPart

__all__ = ("fit", "settle")

_MOST_PASSES = 1_000_000_000
"""Pixels times scans of a JPEG: few bytes can ask for hours."""
_SENT_AS: dict[MediaKind, ImageType] = {
    "image/png": "image/png",
    "image/jpeg": "image/jpeg",
    "image/gif": "image/gif",
    "image/webp": "image/webp",
}
_FOREIGN = frozenset(("image/tiff", "image/heic", "image/avif"))
"""Pictures that are known when they are seen, and not read."""
_CONVERT = "convert it to PNG or JPEG first"
_SMALLER = "make it smaller first, or use a model that takes larger ones"


def fit(part: UserPart, limits: MediaLimits, *, images: int = 1, target: str = "the model") -> UserPart:
    """Returns the part, made to fit one of so many pictures; the same object when it is within the limits already.

    Raises:
        MediaUnsupported: it is nothing the target takes, and cannot be made into it.
    """
    settled = settle(part, limits, images=images, target=target)
    if settled is not None:
        return settled
    assert isinstance(part, Image | Document)  # `settle` settles all others
    picture, seen = Image("image/png", part.data, part.name), sniff(part.data)
    assert seen is not None
    try:
        from holdfast.models.media.remaking import remake  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        _refuse(
            part,
            seen,
            target,
            "it has to be remade to fit, which needs Pillow",
            "pip install 'holdfast[media]', or make it smaller, or a PNG or JPEG, first",
        )
    made = remake(picture, seen, limits, limits.side_among(images))
    if isinstance(made, str):
        _refuse(part, seen, target, made, f"{_CONVERT}, or leave it out")
    return made


def settle(part: UserPart, limits: MediaLimits, *, images: int = 1, target: str = "the model") -> UserPart | None:
    """Returns what is sent for a part that need not be decoded, the same object if it stays; None for all others.

    Raises:
        MediaUnsupported: nothing that can be done to it makes it fit.
    """
    if not isinstance(part, Image | Document) or part.media_type == "text/plain":
        return part
    seen = sniff(part.data)
    if seen is None:
        why = "its bytes are no picture, PDF or text" if part.data else "it has no bytes"
        _refuse(part, None, target, why, "check the file it is from")
    if seen.kind == "application/pdf":
        return _document(part, seen, limits, target)
    if seen.kind == "text/plain":
        if isinstance(part, Document):
            return Document("text/plain", part.data, part.name)
        _refuse(part, seen, target, "it is no picture", "check the file it is from")
    return _picture(part, seen, limits, limits.side_among(images), target)


def _document(part: Image | Document, seen: Sniffed, limits: MediaLimits, target: str) -> UserPart:
    if not limits.pdf:
        _refuse(part, seen, target, "PDF is not taken", "give its text instead, or use a model that reads PDF")
    most = min(limits.pdf_bytes, limits.request_bytes)
    if as_sent(len(part.data)) > most:
        _refuse(part, seen, target, f"at most {most:,} bytes in base64 are taken", "split it")
    if isinstance(part, Document) and part.media_type == seen.kind:
        return part
    return Document("application/pdf", part.data, part.name)


def _picture(
    part: Image | Document, seen: Sniffed, limits: MediaLimits, side: int | None, target: str
) -> UserPart | None:
    if not limits.image_types:
        _refuse(part, seen, target, "no pictures are taken", "say in words what it shows, or use a model that sees")
    if seen.kind in _FOREIGN:
        _refuse(part, seen, target, "that kind of picture is not read", _CONVERT)
    if not seen.pixels:
        _refuse(part, seen, target, "it is damaged", "check the file it is from")
    if (kind := _as_it_is(part.data, seen, limits, side)) is not None:
        return part if isinstance(part, Image) and part.media_type == kind else Image(kind, part.data, part.name)
    if seen.pixels > MOST_PIXELS:
        _refuse(part, seen, target, f"it has to be remade, and has more than {MOST_PIXELS:,} pixels", _SMALLER)
    if seen.kind == "image/jpeg" and scans(part.data) * seen.pixels > _MOST_PASSES:
        _refuse(part, seen, target, "it has to be remade, and has too many scans for its size", _CONVERT)
    return None


def _as_it_is(data: bytes, seen: Sniffed, limits: MediaLimits, side: int | None) -> ImageType | None:
    """Returns the type as which these bytes can be sent, None when they cannot."""
    kind = _SENT_AS.get(seen.kind)
    if kind not in limits.image_types or as_sent(len(data)) > min(limits.image_bytes, limits.request_bytes):
        return None
    if side is not None and max(seen.width, seen.height) > side:
        return None
    if limits.pixels is not None and seen.pixels > limits.pixels:
        return None
    return None if not limits.animated and moves(data, seen.kind) else kind


def _refuse(part: Image | Document, seen: Sniffed | None, target: str, why: str, step: str) -> NoReturn:
    what = "image" if isinstance(part, Image) else "document"
    name = f" {part.name[:100]!r}" if part.name else ""
    size = f", {seen.width:,} x {seen.height:,} pixels" if seen is not None and seen.pixels else ""
    kind = part.media_type if seen is None else seen.kind
    raise MediaUnsupported(
        f"{target!r} cannot be shown the {what}{name} ({kind}{size}, {len(part.data):,} bytes): {why}; {step}"
    )
