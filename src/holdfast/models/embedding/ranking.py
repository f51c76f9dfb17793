"""Texts by how near they are to a query.

For lists that are ranked once: vectors are compared portion by portion and thrown away, so that a hundred thousand
texts take the memory of some thousand. An index is something else, and not here.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from typing import Final

import msgspec

from holdfast.models.embedding.port import Embedder, Embeddings, EmbedRequest, Progress
from holdfast.models.embedding.vectors import similarities
from holdfast.types import Nanodollars, Usage

__all__ = ("Nearest", "Ranking", "rank")

_PORTION: Final = 2048


class Nearest(msgspec.Struct, frozen=True, gc=False):
    """One text and how near it is."""

    index: int
    """The text's place in the list."""
    score: float
    """The cosine of the angle between its vector and the query's: 1 is the same direction."""


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """What ranking came to."""

    nearest: list[Nearest]
    """The nearest first; of texts as near as each other the first first."""
    model: str
    usage: Usage | None = None
    """None when the provider does not say."""
    cost: Nanodollars | None = None
    """None when nobody knows."""


async def rank(
    embedder: Embedder, query: str, texts: Sequence[str], *, top: int = 10, progress: Progress | None = None
) -> Ranking:
    """Returns the `top` texts that are nearest to the query; a text that stands there twice is embedded once.

    Where the embedder knows tasks, the query is embedded as one and the texts as documents.

    Raises:
        UsageError: the query or a text is empty, or something is wrong with the embedder's settings.
        ModelError: the embedder failed.
    """
    places: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        places.setdefault(text, []).append(index)
    different = list(places)
    asked = await embedder.embed(
        EmbedRequest(texts=[query], task="query" if "query" in embedder.tasks else None, dimensions=None)
    )
    spent = [asked]
    scores: list[float] = []
    for first in range(0, len(different), _PORTION):
        portion = different[first : first + _PORTION]
        found = await embedder.embed(
            EmbedRequest(
                texts=portion,
                task="document" if "document" in embedder.tasks else None,
                progress=_further(progress, first, len(different)),
            )
        )
        spent.append(msgspec.structs.replace(found, embeddings=[]))
        scores += await asyncio.to_thread(_scores, asked, found)
        del found  # its vectors, before the next ones come
    every = (Nearest(index, score) for text, score in zip(different, scores, strict=True) for index in places[text])
    nearest = heapq.nsmallest(top, every, key=lambda each: (-each.score, each.index))
    counted = [each.usage for each in spent if each.usage is not None]
    costs = [each.cost for each in spent if each.cost is not None]
    return Ranking(
        nearest=nearest,
        model=embedder.name,
        usage=sum(counted, Usage()) if len(counted) == len(spent) else None,
        cost=Nanodollars(sum(costs)) if len(costs) == len(spent) else None,
    )


def _scores(asked: Embeddings, found: Embeddings) -> list[float]:
    return similarities(asked.embeddings[0].values, [each.values for each in found.embeddings])


def _further(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Returns what tells a portion's progress as one of the whole."""
    return None if progress is None else lambda done, _: progress(before + done, total)
