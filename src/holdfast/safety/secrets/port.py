"""A secret by its name, and who knows its value."""

from __future__ import annotations

import re
from typing import Protocol

import msgspec

from holdfast.errors import UsageError

__all__ = ("Reference", "Resolver", "reference_of")

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Reference(msgspec.Struct, frozen=True, gc=False):
    """What a declaration calls a secret: `[namespace/]name[:key]` (source: Orloj 3.8)."""

    name: str
    key: str = "value"
    namespace: str = ""

    def __str__(self) -> str:
        space = f"{self.namespace}/" if self.namespace else ""
        return f"{space}{self.name}" if self.key == "value" else f"{space}{self.name}:{self.key}"

    def part(self, key: str) -> Reference:
        """Returns another value of the same secret, such as `client_id`."""
        return Reference(self.name, key, self.namespace)


class Resolver(Protocol):
    """Knows the values of some secrets."""

    async def resolve(self, reference: Reference) -> str | None:
        """Returns a secret's value; None when it is not known here.

        Raises:
            HoldfastError: it may be known here, and cannot be read now.
        """
        ...


def reference_of(text: str) -> Reference:
    """Returns what a text names.

    Raises:
        UsageError: it is no name of a secret.
    """
    space, slash, rest = text.rpartition("/")
    name, colon, key = rest.partition(":")
    parts = [name, *([space] if slash else []), *([key] if colon else [])]
    if any(_PART.fullmatch(each) is None for each in parts):
        raise UsageError(
            f"{text[:80]!r} is no name of a secret: write name, name:key or namespace/name:key, of letters, digits, "
            "dots, dashes and underscores"
        )
    return Reference(name, key if colon else "value", space)
