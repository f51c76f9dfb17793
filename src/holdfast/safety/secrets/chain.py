"""Several places for secrets, one after another, and what was found remembered for redaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import final

from holdfast.errors import SecretMissing
from holdfast.safety.redacting import Redactor
from holdfast.safety.secrets.port import Reference, Resolver, reference_of

__all__ = ("Secrets",)


@final
class Secrets:
    """The secrets of a runtime; whatever value leaves it is known to its redactor first."""

    def __init__(self, places: Sequence[Resolver] | Callable[[], Sequence[Resolver]], redactor: Redactor) -> None:
        """Takes places, or what makes them when the first secret is wanted."""
        self._given = places
        self.redactor = redactor

    @cached_property
    def _places(self) -> tuple[Resolver, ...]:
        return tuple(self._given() if callable(self._given) else self._given)

    async def value(self, secret: str | Reference) -> str:
        """Returns a secret's value, from the first place that knows it.

        Raises:
            SecretMissing: none does; says where it was looked for.
            HoldfastError: a place that may know it cannot be read.
        """
        reference = reference_of(secret) if isinstance(secret, str) else secret
        for place in self._places:
            value = await place.resolve(reference)
            if value is not None:
                self.redactor.learn(value)
                return value
        where = ", ".join(type(place).__name__ for place in self._places) or "nowhere"
        raise SecretMissing(
            f"nobody knows the secret {str(reference)!r} (looked for in {where}): set it with `holdfast secrets set "
            f"{reference}`, or as an environment variable"
        )
