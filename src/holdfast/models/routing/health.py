"""Which models fail at the moment, so that a chain goes past them.

Kept in memory, for all runs of a runtime: what one run learns, the others need not pay for. Two failures in a row that
trying again may help bench a model, for a time that doubles with every further one, up to a bound; one answer, and
everything is forgotten (source: executus B1). After its time a model is asked again, and one more failure benches it
for longer.

A bench is advice to chains: a run that has no other model asks it all the same. Not here: what comes next
(`chain.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import final

import msgspec

from holdfast.flow.clock import Clock

__all__ = ("Health", "Standing")

_MOST = 4096
"""Models that are remembered: of more, those that failed longest ago are forgotten."""
_SHOWN = 20
"""Models that are named where all of it is printed."""
_DOUBLINGS = 32
"""After so many, whatever the bound, it is long passed."""


class Standing(msgspec.Struct, frozen=True, gc=False):
    """How one model does; one that nothing is known against has none."""

    failures: int = 0
    """In a row."""
    benches: int = 0
    """In a row."""
    until: float = 0.0
    """Benched until then, in seconds of the clock's monotonic time; `inf` until somebody takes it off."""
    why: str = ""
    quiet: float = 0.0
    """Its provider wants to be left alone until then; no bench: a chain that has nobody else waits for it."""

    def left(self, now: float) -> float:
        """Returns for how many seconds it is benched yet; 0 when it is not."""
        return max(0.0, self.until - now)

    def told(self, now: float) -> str:
        """Returns in words how it does, in one line."""
        left, quiet = self.left(now), self.quiet - now
        parts = [f"{self.failures} failure{'' if self.failures == 1 else 's'} in a row"] if self.failures else []
        if left:
            parts.append("benched until further notice" if left == math.inf else f"benched for {left:.0f} s yet")
        elif self.benches:
            parts.append("its bench is over")
        if quiet > 0:
            parts.append(f"wants to be left alone for {quiet:.0f} s yet")
        why = "".join(char if char.isprintable() else " " for char in self.why)
        return ", ".join(parts or ["nothing is known against it"]) + (f" ({why})" if why else "")


@final
class Health:
    """How models do, by `provider/name`."""

    def __init__(self, clock: Clock, *, after: int = 2, seconds: float = 30.0, most: float = 600.0) -> None:
        """Benches `after` so many failures in a row, for so many `seconds` first and for `most` at most."""
        self._clock = clock
        self._after = after
        self._seconds = seconds
        self._longest = most
        self.troubled: dict[str, Standing] = {}
        """Those that something is known against; empty, and there is nothing to ask or to tell."""

    def __repr__(self) -> str:
        """Returns a line for each model that something is known against, for people."""
        if not self.troubled:
            return "Health: nothing is known against any model"
        now = self._clock.monotonic()
        shown = [f"  {name}: {each.told(now)}" for name, each in list(self.troubled.items())[:_SHOWN]]
        if len(self.troubled) > _SHOWN:
            shown.append(f"  and {len(self.troubled) - _SHOWN:,} more, see Health.snapshot()")
        return "\n".join(["Health:", *shown])

    def failed(self, name: str, why: str = "", wait: float = 0.0) -> bool:
        """Notes a failure that trying again may help, and returns whether it benched the model; `wait` is how many
        seconds its provider wants to be left alone.
        """
        known = self.troubled.pop(name, Standing())
        failures, benches, until = known.failures + 1, known.benches, known.until
        now = self._clock.monotonic()
        benched = failures >= self._after and until <= now  # one that is benched already is not benched for longer
        if benched:
            until = now + min(self._longest, self._seconds * 2.0 ** min(benches, _DOUBLINGS))
            benches += 1
        if len(self.troubled) >= _MOST:
            del self.troubled[next(iter(self.troubled))]
        self.troubled[name] = Standing(failures, benches, until, why, max(known.quiet, now + wait))
        return benched

    def succeeded(self, name: str) -> None:
        """Notes an answer: nothing is known against the model any more, unless a person benched it."""
        known = self.troubled.pop(name, None)
        if known is not None and known.until == float("inf"):
            self.troubled[name] = Standing(until=known.until, why=known.why)

    def left(self, name: str) -> float:
        """Returns for how many seconds a model is benched yet; 0 when it is not."""
        known = self.troubled.get(name)
        return 0.0 if known is None else known.left(self._clock.monotonic())

    def quiet(self, name: str) -> float:
        """Returns for how many seconds a model's provider wants to be left alone."""
        known = self.troubled.get(name)
        return 0.0 if known is None else max(0.0, known.quiet - self._clock.monotonic())

    def bench(self, name: str, seconds: float | None = None, why: str = "by hand") -> None:
        """Benches a model for so many seconds, or until somebody takes it off."""
        until = float("inf") if seconds is None else self._clock.monotonic() + seconds
        known = self.troubled.pop(name, Standing())
        self.troubled[name] = Standing(known.failures, known.benches, until, why)

    def unbench(self, name: str) -> None:
        """Forgets what is known against a model."""
        self.troubled.pop(name, None)

    def snapshot(self) -> Mapping[str, Standing]:
        """Returns how those do that something is known against, as it is now."""
        return dict(self.troubled)
