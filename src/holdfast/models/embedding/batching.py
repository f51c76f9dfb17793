"""A long list of texts as several requests: cut, sent a few at a time, tried again, put together in order.

Not here: what a request looks like. A batch that fails for good stops all that has not been sent; what is under way is
waited for, because it is paid for. What succeeded goes with the error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from holdfast.errors import Malformed, ModelError
from holdfast.flow.clock import Clock
from holdfast.flow.fanning import Outcome, fan_out
from holdfast.models.embedding.port import Embedding, Embeddings, Progress, with_partial
from holdfast.types import Price, Usage

__all__ = ("AT_ONCE", "Answer", "Batch", "cut", "embed_batches")

AT_ONCE: Final = 4
"""Requests under way at a time."""
_TRIES: Final = 4
_TRIES_OF_NONSENSE: Final = 2
"""What breaks its protocol once may be a proxy's hiccup; twice, it is the server."""
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 60.0
"""Seconds; a server that wants to be left alone for longer has refused."""


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Some of the texts, in a row."""

    first: int
    """The index of the first."""
    texts: Sequence[str]

    @property
    def where(self) -> str:
        """Which texts these are, for messages."""
        last = self.first + len(self.texts) - 1
        return f"text {self.first}" if last == self.first else f"texts {self.first} to {last}"


class Answer(msgspec.Struct, frozen=True):
    """What a batch came to."""

    embeddings: list[Embedding]
    """With their indices across all batches, in order."""
    tokens: int | None
    """None when the provider does not say."""


Ask = Callable[[Batch], Awaitable[Answer]]


def cut(texts: Sequence[str], sizes: Sequence[int], most: int, most_bytes: int | None) -> list[Batch]:
    """Returns the texts in batches of at most so many, and so many bytes where more than one is in a batch."""
    batches: list[Batch] = []
    first = weight = 0
    for index, size in enumerate(sizes):
        full = index - first >= most or (most_bytes is not None and weight + size > most_bytes)
        if full and index > first:
            batches.append(Batch(first, texts[first:index]))
            first, weight = index, 0
        weight += size
    if sizes:
        batches.append(Batch(first, texts[first : len(sizes)]))
    return batches


class _Work:
    """The batches of one request while they are under way."""

    def __init__(
        self, ask: Ask, malformed: Callable[[str], Malformed], clock: Clock, total: int, dimensions: int | None
    ) -> None:
        self._ask = ask
        self._malformed = malformed
        self._clock = clock
        self._total = total
        self._asked_for = dimensions
        self._length = dimensions
        self._done = 0
        self._over = asyncio.Event()
        self.progress: Progress | None = None

    async def one(self, batch: Batch) -> Answer | None:
        """Returns a batch's answer; None when another one had failed before its turn came."""
        if self._over.is_set():
            return None
        try:
            answer = await self._patiently(batch)
            self._done += len(batch.texts)
            if self.progress is not None:
                self.progress(self._done, self._total)
        except BaseException:
            self._over.set()
            raise
        return answer

    async def _patiently(self, batch: Batch) -> Answer:
        tries = 0
        while True:
            try:
                return self._checked(await self._ask(batch))
            except ModelError as error:
                tries += 1
                wait = _wait(error, tries)
                if wait is None or self._over.is_set():
                    raise
            await self._clock.sleep(wait)

    def _checked(self, answer: Answer) -> Answer:
        for each in answer.embeddings:
            length = len(each.values)
            if self._length is None:
                self._length = length
            elif length != self._length:
                wanted = "were asked for" if self._asked_for else "the others have"
                raise self._malformed(
                    f"vector {each.index} has {length} dimensions, and {self._length} {wanted}; "
                    "check that the model can give as many"
                )
        return answer


def _wait(error: ModelError, tries: int) -> float | None:
    """Returns how many seconds to wait before a batch is tried again; None when it is not."""
    most = _TRIES_OF_NONSENSE if isinstance(error, Malformed) else _TRIES
    asked = error.retry_after or 0.0
    if error.retry == "never" or tries >= most or asked > _LONGEST_WAIT:
        return None
    return max(asked, _FIRST_WAIT * 2 ** (tries - 1))


async def embed_batches(
    batches: Sequence[Batch],
    ask: Ask,
    *,
    model: str,
    price: Price | None,
    malformed: Callable[[str], Malformed],
    clock: Clock,
    dimensions: int | None = None,
    progress: Progress | None = None,
) -> Embeddings:
    """Returns the vectors of all batches, in order; `malformed` makes the error of vectors of the wrong length.

    Raises:
        ModelError: of the first batch, in their order, that failed for good; it carries what succeeded.
    """
    total = sum(len(batch.texts) for batch in batches)
    work = _Work(ask, malformed, clock, total, dimensions)
    work.progress = progress
    outcomes = await fan_out(work.one, batches, at_once=AT_ONCE)
    done = _joined(outcomes, model, price)
    failure = next((outcome.error for outcome in outcomes if outcome.error is not None), None)
    if failure is None:
        return done
    if not isinstance(failure, ModelError) or not done.embeddings:
        raise with_partial(failure, done)
    failure.args = (f"{failure}; {len(done.embeddings)} of {total} texts have their vectors", *failure.args[1:])
    raise with_partial(failure, done)


def _joined(outcomes: Sequence[Outcome[Answer | None]], model: str, price: Price | None) -> Embeddings:
    answers = [outcome.value for outcome in outcomes if outcome.value is not None]
    counted = [answer.tokens for answer in answers if answer.tokens is not None]
    usage = Usage(sum(counted)) if len(counted) == len(answers) else None
    return Embeddings(
        embeddings=[each for answer in answers for each in answer.embeddings],
        model=model,
        usage=usage,
        cost=None if usage is None or price is None else price.cost(usage),
    )
