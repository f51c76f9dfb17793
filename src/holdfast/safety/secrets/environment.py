"""Secrets in the environment, under the names that the reference may mean (source: Orloj 3.8)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import final

from holdfast.errors import UsageError
from holdfast.safety.secrets.port import Reference, Resolver

__all__ = ("PREFIX", "EnvironmentSecrets")

_OTHERS = re.compile(r"[^A-Z0-9]")
PREFIX = "HOLDFAST_SECRET_"
"""What variables begin with that are secrets and nothing else."""


@final
class EnvironmentSecrets(Resolver):
    """Looks for `openai-api-key` in `openai-api-key`, in `OPENAI_API_KEY`, and in `HOLDFAST_SECRET_OPENAI_API_KEY`."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Reads this mapping, or else the process's environment as it is at each call."""
        self._environ = os.environ if environ is None else environ

    async def resolve(self, reference: Reference) -> str | None:
        """Returns a secret's value; None where no variable is set, or only to nothing.

        Raises:
            UsageError: it is no text.
        """
        normal = _OTHERS.sub("_", str(reference).upper())
        for variable in (str(reference), normal, PREFIX + normal):
            if value := self._environ.get(variable):
                if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
                    raise UsageError(f"the variable {variable} is no text: encode it, for example as base64")
                return value
        return None
