"""What a runtime knows of names and of failures: from a spec to the models that are meant, with how they do.

Not here: making the models (`providers/finding.py`), asking them (the engine).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from holdfast.errors import UsageError
from holdfast.flow.clock import Clock
from holdfast.models.routing.chain import Failover
from holdfast.models.routing.grammar import Names, Written, check_aliases, check_cycles, expand
from holdfast.models.routing.health import Health
from holdfast.models.routing.targets import Chain, Target
from holdfast.models.routing.tiers import Tiers

__all__ = ("Routes",)


@final
class Routes:
    """Names, health and policy, shared by all runs of a runtime."""

    def __init__(
        self,
        clock: Clock,
        *,
        aliases: Mapping[str, str] | None = None,
        tiers: Tiers | Mapping[str, str] | None = None,
        provider: str = "",
        failover: Failover | None = None,
    ) -> None:
        """Takes what names stand for.

        Raises:
            UsageError: something cannot be a name, or stands for nothing; or a number of `failover` is none.
        """
        check_aliases(aliases or {})
        if set(provider) & set("/,:") or provider != provider.strip():
            raise UsageError(f"{provider!r} is no provider: give the word before the slash, as in 'openai'")
        if tiers is not None and not isinstance(tiers, Tiers):
            check_cycles({**tiers, **(aliases or {})})
            tiers = Tiers(tiers, clock=clock)
        self.policy = failover or Failover()
        self._tiers = tiers
        self._names = Names(dict(aliases or {}), None if tiers is None else tiers.find, provider)
        self.health = Health(
            clock,
            after=self.policy.bench_after,
            seconds=self.policy.bench_seconds,
            most=self.policy.longest_bench,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The aliases, and the tiers that it is known of beforehand."""
        tiers = () if self._tiers is None else self._tiers.names
        return tuple(dict.fromkeys((*self._names.aliases, *tiers)))

    def meant(self, spec: str) -> tuple[Written, ...]:
        """Returns the models that a spec means, in the order in which they are asked.

        Raises:
            UnknownModel: an element is none, or stands for nothing, or for itself.
        """
        return expand(spec, self._names)

    def chain(self, targets: Sequence[Target], retries: int) -> Chain:
        """Returns what a run asks through, that may ask a model again so many times; without, it goes on at once."""
        return Chain(targets, self.health, self.policy, retries)
