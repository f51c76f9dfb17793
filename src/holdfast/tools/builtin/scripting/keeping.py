"""What a script puts aside while it runs: texts under keys, in memory, gone with it.

A script that runs again does the same again, so its store comes to hold the same again, and is never written down.
"""

from __future__ import annotations

from typing import Any, final

from holdfast.errors import UsageError
from holdfast.tools.builtin.scripting.bounds import LONGEST_KEY, Bounds, Over

__all__ = ("Store",)

_LISTED = 1_000
_FOUND = 50
_AROUND = 80
"""Characters before and behind what was found."""


@final
class Store:
    """The store of one script."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._values: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._total = 0

    def write(self, key: str, value: str) -> int | Over:
        """Keeps a text, and returns how many bytes all of them have; or which of them are more than may be."""
        if not key or len(key) > LONGEST_KEY:
            return Over("store_key", f"a key of the store has 1 to {LONGEST_KEY} characters")
        size = len(value.encode("utf-8", "surrogatepass"))
        if size > self._bounds.value:
            return Over("store_value", f"a value of {size} bytes: one may have {self._bounds.value}")
        total = self._total - self._sizes.get(key, 0) + size + (0 if key in self._values else _size(key))
        if total > self._bounds.store:
            return Over("store_bytes", f"the store would have {total} bytes: it may have {self._bounds.store}")
        self._values[key], self._sizes[key], self._total = value, size, total
        return total

    def read(self, key: str) -> str | None:
        """Returns a text; None when there is none."""
        return self._values.get(key)

    def read_range(self, key: str, start: int, length: int) -> str:
        """Returns a part of a text, in characters.

        Raises:
            UsageError: there is no such text, or there are no such places.
        """
        if key not in self._values:
            raise UsageError(f"the store has no {key!r}: store_list() says what it has")
        if start < 0 or length < 0:
            raise UsageError("a part of a text begins at 0 or later, and has 0 characters or more")
        return self._values[key][start : start + length]

    def delete(self, key: str) -> bool:
        """Forgets a text; returns whether it was there."""
        if self._values.pop(key, None) is None:
            return False
        self._total -= self._sizes.pop(key) + _size(key)
        return True

    def list(self, prefix: str) -> dict[str, int]:
        """Returns how many bytes each text has whose key begins like that, by key; the first thousand."""
        found = sorted(key for key in self._values if key.startswith(prefix))
        return {key: self._sizes[key] for key in found[:_LISTED]}

    def search(self, text: str, limit: int) -> list[dict[str, Any]]:
        """Returns where a text stands, upper or lower case: key, place, and what is around it.

        Raises:
            UsageError: there is nothing to search for.
        """
        if not text:
            raise UsageError("an empty text is everywhere: say what to search for")
        found: list[dict[str, Any]] = []
        wanted = text.casefold()
        for key in sorted(self._values):
            value = self._values[key]
            # Folding may change lengths, so a place is one of the folded text; it is close enough to be read at.
            at = value.casefold().find(wanted)
            if at >= 0:
                around = value[max(0, at - _AROUND) : at + len(text) + _AROUND]
                found.append({"key": key, "offset": at, "excerpt": around})
            if len(found) >= min(max(limit, 1), _FOUND):
                break
        return found


def _size(key: str) -> int:
    return len(key.encode("utf-8", "surrogatepass"))
