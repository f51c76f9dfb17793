"""What all places for blobs share when they remove some: which time is safe, and portions that are soon done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from holdfast.errors import UsageError
from holdfast.storage.blobs import REFRESH
from holdfast.types import Digest

__all__ = ("check_before", "portions")

_BLOBS = 32
_BYTES = 4 * 1024 * 1024
"""Of one transaction: other writers wait for it."""


def check_before(before: int, now: int) -> None:
    """Sees that a blob which was put just now is safe, though its time may be `REFRESH` behind.

    Raises:
        UsageError: it would not be.
    """
    if before > now - 2 * REFRESH:
        hours = 2 * REFRESH / 3_600_000_000
        raise UsageError(f"blobs younger than {hours:.0f} hours cannot be collected: name a longer time of grace")


def portions(blobs: Iterable[tuple[Digest, int]]) -> Iterator[list[tuple[Digest, int]]]:
    """Yields (digest, size) pairs in lists that one short transaction can remove."""
    portion: list[tuple[Digest, int]] = []
    size = 0
    for blob in blobs:
        if portion and (len(portion) == _BLOBS or size + blob[1] > _BYTES):
            yield portion
            portion, size = [], 0
        portion.append(blob)
        size += blob[1]
    if portion:
        yield portion
