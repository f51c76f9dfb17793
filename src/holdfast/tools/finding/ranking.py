"""Ranks documents by how well they fit some terms: Okapi BM25 (Robertson and Zaragoza 2009, section 3).

A document is worth more the rarer the terms are that it has in common with a question, the more often it has them, and
the shorter it is. What a term is worth is worked out when it is first asked for. Scores are whole numbers: a sum is
the same in whatever order and on whatever machine it is taken, and so is the ranking; among equals the order of the
documents decides.

Not here: what a document or a term is (`index.py`, `words.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest
from math import log
from typing import final

__all__ = ("Ranking",)

_K1 = 1.2
_B = 0.75
"""How soon more of the same term counts no more, and how much length counts: the usual ones."""
_UNIT = 1_000_000
"""What a score of 1 is in whole numbers."""


@final
class Ranking:
    """Some documents, ready to be asked."""

    __slots__ = ("_having", "_longer", "_worth")

    def __init__(self, documents: Sequence[Mapping[str, int]]) -> None:
        """Takes each document's terms, and how often it has them."""
        sizes = [sum(each.values()) for each in documents]
        usual = sum(sizes) / len(sizes) if any(sizes) else 1.0
        self._longer = [_K1 * (1 - _B + _B * size / usual) for size in sizes]
        """How much each document's length takes from what it has."""
        self._having: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        """Of each term, the documents that have it, and how often."""
        for place, document in enumerate(documents):
            for term, times in document.items():
                self._having[term].append((place, times))
        self._worth: dict[str, list[tuple[int, int]]] = {}
        """Of the terms that were asked for, what they are worth to whom."""

    def scores(self, terms: Iterable[str]) -> dict[int, int]:
        """Returns the scores of the documents that have a term in common with some; a term that is said twice counts
        once.
        """
        found: dict[int, int] = {}
        for term in dict.fromkeys(terms):
            if term not in self._having:
                continue
            worth = self._worth.get(term)
            for place, score in worth if worth is not None else self._weigh(term):
                found[place] = found.get(place, 0) + score
        return found

    def _weigh(self, term: str) -> list[tuple[int, int]]:
        having, longer = self._having[term], self._longer
        rare = log(1 + (len(longer) - len(having) + 0.5) / (len(having) + 0.5)) * _UNIT * (_K1 + 1)
        worth = [(place, max(1, round(rare * times / (times + longer[place])))) for place, times in having]
        self._worth[term] = worth
        return worth

    def best(self, terms: Iterable[str], limit: int, share: float = 0.0) -> list[int]:
        """Returns the places of so many documents at most, the best one first: those that have anything in common with
        the terms, and at least that share of the best one's score.
        """
        scores = self.scores(terms)
        least = max(scores.values(), default=0) * share
        return nsmallest(limit, [place for place in scores if scores[place] >= least], key=lambda at: (-scores[at], at))
