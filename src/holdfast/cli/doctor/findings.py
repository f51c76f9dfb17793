"""What a look at the machine comes to: lines that say how a thing is and what to do about it."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ("Finding", "Level")

Level = Literal["ok", "warning", "missing", "broken"]
"""`missing` does without something; `broken` is what has to be mended before anything works."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=False):
    """How one thing is."""

    group: str
    name: str
    level: Level
    found: str
    """What there is, in a few words."""
    next: str = ""
    """What to do; empty when there is nothing to do."""
