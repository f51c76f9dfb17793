"""Who answers, as far as it matters to whoever reads the answer."""

from __future__ import annotations

from typing import Protocol

__all__ = ("Answers",)


class Answers(Protocol):
    """Who answers."""

    @property
    def name(self) -> str:
        """As the client called them."""
        ...

    @property
    def handed(self) -> frozenset[str]:
        """The tools that the client runs itself."""
        ...

    @property
    def whole(self) -> bool:
        """Whether words count only when they are all there, since they are read before they do."""
        ...
