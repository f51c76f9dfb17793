"""The root of the tree, and what each of its classes says: what to do about it, and who can."""

from __future__ import annotations

from typing import ClassVar, Literal

__all__ = ("HoldfastError",)

Retry = Literal["never", "now", "later"]
Audience = Literal["model", "user", "operator"]


class HoldfastError(Exception):
    """The root: catch it to catch everything Holdfast raises on purpose."""

    code: ClassVar[str] = "error"
    retry: ClassVar[Retry] = "never"
    audience: ClassVar[Audience] = "user"
