"""Names that stand for whatever is configured for them at the moment: `fast`, `smart`, and the like.

The configuration is asked first, for `model.tier.<name>`, then the fallback (source: executus B3). What it says, also
that it says nothing, holds for a while, so that a run costs no look at a file; after that it is asked again, and a
process that runs for months hears of a change without a restart.

Not here: what the spec means (`grammar.py`), where the configuration is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

from holdfast.errors import UnknownModel, UsageError
from holdfast.flow.clock import Clock, SystemClock
from holdfast.models.routing.grammar import check_spec

__all__ = ("LIFETIME", "TIER", "Tiers")

TIER = "model.tier."
"""What the configuration's name of a tier begins with."""
LIFETIME = 60.0
"""Seconds until the configuration is asked again."""
_MOST = 1024
"""Names that are remembered; people do not have that many."""


@final
class Tiers:
    """What each tier stands for."""

    def __init__(
        self,
        fallback: Mapping[str, str] | None = None,
        *,
        read: Callable[[str], str | None] | None = None,
        lifetime: float = LIFETIME,
        clock: Clock | None = None,
    ) -> None:
        """Takes tiers from `read`, which is given `model.tier.<name>`, and where it returns None from `fallback`.

        Args:
            fallback: Specs by the names of tiers.
            read: Asks the configuration.
            lifetime: Seconds for which an answer of `read` holds.
            clock: Where time comes from, for tests.

        Raises:
            UsageError: what a tier of `fallback` stands for can be no model.
        """
        self._fallback = dict(fallback or {})
        self._read = read
        self._lifetime = lifetime
        self._clock = clock or SystemClock()
        self._known: dict[str, tuple[str | None, float]] = {}
        for name, spec in self._fallback.items():
            try:
                check_spec(spec)
            except UnknownModel as error:
                raise UsageError(f"tier {name!r}: {error}") from None

    @property
    def names(self) -> tuple[str, ...]:
        """Those that there are whatever the configuration says."""
        return tuple(self._fallback)

    def find(self, name: str) -> str | None:
        """Returns what a tier stands for; None for a name that is none.

        While the configuration cannot be read, as in the middle of an edit, what it said last goes on holding.

        Raises:
            UsageError: it cannot be read, and has said nothing of this name yet.
        """
        if self._read is None:
            return self._fallback.get(name)
        now = self._clock.monotonic()
        spec, until = self._known.get(name, (None, now))
        if now >= until:
            try:
                spec = self._read(TIER + name)
            except UsageError:
                if spec is None:
                    raise
            self._known.pop(name, None)
            if len(self._known) >= _MOST:
                del self._known[next(iter(self._known))]
            self._known[name] = spec, now + self._lifetime
        return self._fallback.get(name) if spec is None else spec
