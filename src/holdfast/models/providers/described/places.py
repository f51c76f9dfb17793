"""Where models are and whose key they take, for providers that can stand for another server that speaks their protocol.

Not here: servers that speak Chat Completions, which differ in more (`servers.py`); where a key is found.
"""

from __future__ import annotations

from typing import final

import msgspec

__all__ = ("Place",)


@final
class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A server of models, as their names and errors speak of it."""

    name: str
    """What stands before the slash in names of its models."""
    url: str
    """Its address, where nobody says another."""
    key_variable: str = ""
    """The variable that holds the key, or what else a person has to look at."""
    url_variable: str = ""
    """The variable that may hold another address; empty where there is none."""
    needs_key: bool = True
    """Whether it takes nobody without a key, at its own address."""

    @property
    def own_url(self) -> str:
        """The address at which a key is needed; empty for nowhere."""
        return self.url if self.needs_key else ""
