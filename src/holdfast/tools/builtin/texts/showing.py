"""Paths as they are shown to a model: one line of valid text each, whatever the disk holds."""

from __future__ import annotations

__all__ = ("shown_path", "shown_text")

_PICTURES = {code: 0x2400 + code for code in range(32)} | {127: 0x2421}


def shown_path(path: str) -> str:
    """Returns the path with pictures for control characters; most paths are as they were."""
    return shown_text(path).translate(_PICTURES)


def shown_text(text: str) -> str:
    """Returns the text with a mark for each byte that is no UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
