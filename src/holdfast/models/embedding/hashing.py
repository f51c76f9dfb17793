"""An embedder that needs nothing: features of a text are hashed into a vector (Weinberger and others, 2009).

Features are words, pairs of words that follow one another, and pieces of three and four letters, so that forms of one
word, and words with a slip in them, stay near each other. It knows spelling, not meaning: good for ranking offline
and for tests, no match for a model. Scripts without blanks between words count by letters and pairs of letters.

Invariants: the same text gives the same bytes in every process and on every version of Python, for all characters
that Unicode 14 knows: sums are whole numbers, and what follows is rounded as IEEE 754 says. A text is worth the same
alone and among others.
"""

from __future__ import annotations

import asyncio
import functools
import math
import re
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from hashlib import blake2b
from itertools import pairwise
from typing import Final, final

from holdfast.errors import UnknownModel
from holdfast.models.embedding.cards import EmbedderCard
from holdfast.models.embedding.checking import check_request, sizes_of
from holdfast.models.embedding.port import Embedder, Embedding, Embeddings, EmbedRequest, Encoding, Task
from holdfast.models.embedding.vectors import floats_of
from holdfast.types import Nanodollars, Usage

__all__ = ("DEFAULT_DIMENSIONS", "HashingEmbedder")

DEFAULT_DIMENSIONS: Final = 1024
"""Two texts that have nothing in common are as near as 0.03 by chance, which falls with the root of this."""
_LEAST, _MOST = 8, 16_384
_PORTION: Final = 256
"""Texts that are done between two looks at the event loop."""
_REMEMBERED: Final = 16_384
"""Words of which the features are kept while a request lasts."""

_WORD = re.compile(r"[^\W_]{1,64}")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
"""Where a name like `maxTokens` has its words."""
_UNSPACED = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")

# Weights before the vector is brought to length 1; whole numbers, so that no order of adding matters.
_OF_WORD: Final = 64
_OF_SHORT_WORD: Final = 20
"""Of up to three letters: most of them are grammar."""
_OF_PIECES: Final = 64
"""Of all pieces of a word together, as a length."""
_OF_PAIR: Final = 24


@final
class HashingEmbedder(Embedder):
    """Vectors from the letters and words of a text alone."""

    def __init__(self, dimensions: int = DEFAULT_DIMENSIONS) -> None:
        """Takes how long vectors are where a request does not say: from 8 to 16,384 dimensions.

        Raises:
            UnknownModel: the number is out of these bounds.
        """
        if not _LEAST <= dimensions <= _MOST:
            raise UnknownModel(
                f"'hashing/{dimensions}' is out of bounds: write 'hashing/{_LEAST}' to 'hashing/{_MOST}'"
            )
        self._dimensions = dimensions

    @classmethod
    def named(cls, name: str) -> HashingEmbedder:
        """Returns the embedder of `hashing/<name>`; without a name, the usual one.

        Raises:
            UnknownModel: the name is no number of dimensions, or one out of bounds.
        """
        if not name:
            return cls()
        if not (name.isascii() and name.isdigit() and len(name) < 9):
            raise UnknownModel(f"'hashing/{name}' names no number of dimensions: write it like 'hashing/256'")
        return cls(int(name))

    @property
    def name(self) -> str:
        """`hashing/<dimensions>`."""
        return f"hashing/{self._dimensions}"

    @property
    def tasks(self) -> AbstractSet[Task]:
        """None: a text has the same vector whatever it is for."""
        return frozenset()

    @property
    def encodings(self) -> AbstractSet[Encoding]:
        """Floats, as numbers or packed."""
        return frozenset(("float", "base64"))

    def check(self) -> None:
        """Ends quietly: it needs nothing."""

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Returns one vector of length 1 for each text; of zeros for a text without letters and digits.

        Raises:
            UsageError: the request asks for what this embedder cannot do.
        """
        card = EmbedderCard(name=self.name, dimensions=_MOST, min_dimensions=_LEAST)
        check_request(request, card, self.tasks, self.encodings)
        texts = tuple(request.texts)
        sizes_of(texts, self.name)
        hasher = _Hasher(request.dimensions or self._dimensions)
        done: list[Embedding] = []
        for first in range(0, len(texts), _PORTION):
            portion = texts[first : first + _PORTION]
            vectors = await asyncio.to_thread(hasher.vectors, portion)
            done += [floats_of(each, first + place, request.encoding) for place, each in enumerate(vectors)]
            if request.progress is not None:
                request.progress(len(done), len(texts))
        return Embeddings(embeddings=done, model=self.name, usage=Usage(), cost=Nanodollars(0))


class _Hasher:
    """Vectors of one length; what it found out about a word it keeps."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._marks = functools.lru_cache(_REMEMBERED)(self._marks_of)

    def vectors(self, texts: Sequence[str]) -> list[array[float]]:
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> array[float]:
        words = _WORD.findall(unicodedata.normalize("NFKC", _HUMP.sub(" ", text)).casefold())
        sums: defaultdict[int, int] = defaultdict(int)
        for word, count in Counter(words).items():
            often = math.isqrt(100 * count)  # the tenth time says less than the first
            for place, weight in self._marks(word):
                sums[place] += weight * often
        for (one, other), count in Counter(pairwise(words)).items():
            place, sign = self._spot(f"2 {one} {other}")
            sums[place] += sign * _OF_PAIR * math.isqrt(100 * count)
        vector = array("f", bytes(4 * self._dimensions))
        if length := math.sqrt(sum(value * value for value in sums.values())):
            for place, value in sums.items():
                vector[place] = value / length
        return vector

    def _marks_of(self, word: str) -> tuple[tuple[int, int], ...]:
        """Returns where a word counts, and how much."""
        whole, pieces = _features(word)
        marks = [(place, sign * whole) for place, sign in [self._spot(f"1 {word}")]] if whole else []
        share = max(1, math.isqrt(_OF_PIECES**2 // len(pieces))) if pieces else 0
        spots = [self._spot(f"0 {piece}") for piece in pieces]
        return (*marks, *((place, sign * share) for place, sign in spots))

    def _spot(self, feature: str) -> tuple[int, int]:
        number = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest(), "little")
        return (number >> 1) % self._dimensions, 1 if number & 1 else -1


def _features(word: str) -> tuple[int, list[str]]:
    """Returns how much a word counts as a whole, and its pieces."""
    if _UNSPACED.search(word):
        return 0, [*word, *map("".join, pairwise(word))]
    if len(word) <= 3:
        return _OF_SHORT_WORD, []
    return _OF_WORD, list(_pieces(f"<{word}>"))


def _pieces(word: str) -> Iterator[str]:
    for size in (3, 4):
        yield from (word[at : at + size] for at in range(len(word) - size + 1))
