"""Names that settings give models: aliases and tiers, checked together when they are read.

Not here: what a name means (`models/routing/grammar.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.models.routing.grammar import check_cycles
from holdfast.models.routing.tiers import TIER

__all__ = ("ALIAS", "check_names")

ALIAS = "model.alias."
"""What the setting of a name begins with that stands for models."""


def check_names(told: Mapping[str, tuple[str, str]]) -> None:
    """Ends quietly when no alias or tier among what is set stands for itself, at once or by others.

    Args:
        told: What is set by its whole name, as `model.alias.quick`, each with the place; other settings may be there.

    Raises:
        UsageError: a name does; the message has the place and the ring.
    """
    places: dict[str, str] = {}
    for prefix in (TIER, ALIAS):  # where a name is both, the alias is meant
        places |= {name.removeprefix(prefix): name for name in told if name.startswith(prefix)}
    check_cycles({bare: told[name][0] for bare, name in places.items()}, lambda bare: told[places[bare]][1])
