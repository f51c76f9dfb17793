"""Names of models that a person can use, and completing them in a shell: one, or several with commas between.

What is set is looked at as far as it can be: a model may be newer than the catalogue, a provider is known or is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from holdfast.cli.settings.defaults import settings
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    import click

__all__ = ("check_providers", "model_specs", "own_names")

_MOST = 60
"""Names that a shell is offered."""


def own_names() -> dict[str, str]:
    """Returns the aliases and tiers that are set, with what each stands for.

    Raises:
        UsageError: a file or a variable says something that is no setting.
    """
    held = settings()
    return {**held.tiers, **held.aliases}


def check_providers(spec: str, servers: Iterable[str] = ()) -> None:
    """Ends quietly when each model of a spec is of a provider that is known, or of one of the servers.

    Raises:
        UnknownModel: one is of neither; the message gives the nearest name.
    """
    from holdfast.models.providers.finding import PROVIDERS, unknown_provider

    known = (*PROVIDERS, *servers)
    for each in spec.split(","):
        provider, slash, _ = each.strip().partition("/")
        if slash and provider not in known:
            raise unknown_provider(each.strip(), known)


def model_specs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Returns specs that begin like that: own names and providers first, behind a slash the provider's models.

    Levels behind a colon are not offered: bash breaks words there.
    """
    del context, parameter
    from holdfast.models.catalogue import known_models
    from holdfast.models.providers.finding import PROVIDERS

    before, comma, last = incomplete.rpartition(",")
    if "/" in last:
        names = [name for name in known_models(last.partition("/")[0]) if name.startswith(last)]
    else:
        names: list[str] = []
        with suppress(HoldfastError):  # settings that cannot be read are no error in the middle of a line
            names = [name for name in own_names() if name.startswith(last)]
        names += [f"{name}/" for name in PROVIDERS if name.startswith(last)]
    return [f"{before}{comma}{name}" for name in names[:_MOST]]
