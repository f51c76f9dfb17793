"""Names of models that make vectors, for a shell that completes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

__all__ = ("embedder_names",)


def embedder_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Returns the models that the catalogue knows, and how others begin, as far as they begin like that."""
    del context, parameter
    from holdfast.models.embedding.cards import known_embedders

    names = ("hashing", "hashing/256", "local/", "ollama/", *known_embedders())
    return [name for name in names if name.startswith(incomplete)]
