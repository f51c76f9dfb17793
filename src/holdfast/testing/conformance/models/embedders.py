"""The kit of `holdfast.models.embedding.port`: what every embedder must do.

Vectors are compared with some tolerance: a provider computes the same text in another batch not to the last bit.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from holdfast.errors import UsageError
from holdfast.models.embedding.port import ENCODINGS, TASKS, Embedder, Embeddings, EmbedRequest, partial_of
from holdfast.models.embedding.ranking import rank
from holdfast.models.embedding.vectors import similarity
from holdfast.testing.conformance.checking import expect, refused

__all__ = ("CHECKS", "Check", "Make")

Make = Callable[[], Awaitable[Embedder]]
"""Makes the embedder under test; it embeds English, and its server, if it has one, is there."""
Check = Callable[[Make], Awaitable[None]]
"""One promise; it raises `AssertionError` when the adapter breaks it."""

_TEXTS = ("a lease is renewed", "the weather in spring", "bread with butter", "a lease is renewed", "Zürich 東京 🙂")
_MANY = 300
"""More texts than a batch of most providers."""


def _same(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and all(map(lambda a, b: math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-3), one, other))


async def each_text_has_its_vector_in_its_place(make: Make) -> None:
    """Returns one vector for each text, in their order, all of one length."""
    embedder = await make()
    done = await embedder.embed(EmbedRequest(texts=_TEXTS))
    expect([each.index for each in done.embeddings] == list(range(len(_TEXTS))), "indices count from 0", done)
    expect(len({len(each.values) for each in done.embeddings}) == 1, "all vectors have one length")
    expect(all(math.isfinite(value) for each in done.embeddings for value in each.values), "all numbers are finite")
    for index, text in enumerate(_TEXTS):
        alone = (await embedder.embed(EmbedRequest(texts=[text]))).embeddings[0]
        expect(_same(alone.values, done.embeddings[index].values), "a text alone has the vector it has here", text)
    expect(not _same(done.embeddings[0].values, done.embeddings[1].values), "other texts have other vectors")


async def long_lists_keep_their_order(make: Make) -> None:
    """As many as there are: an embedder cuts them into batches, and indices count across all of them."""
    embedder = await make()
    texts = [f"number {number} of many" for number in range(_MANY)]
    done = await embedder.embed(EmbedRequest(texts=texts))
    expect([each.index for each in done.embeddings] == list(range(_MANY)), "every text once, in order")
    for index in (0, 31, 32, 96, 100, _MANY - 1):
        alone = (await embedder.embed(EmbedRequest(texts=[texts[index]]))).embeddings[0]
        expect(_same(alone.values, done.embeddings[index].values), "the vector is that of the text there", index)


async def no_texts_are_no_vectors(make: Make) -> None:
    """No texts give none, and nobody is asked."""
    embedder = await make()
    done = await embedder.embed(EmbedRequest(texts=()))
    expect(done.embeddings == [], "nothing came of nothing", done)
    expect(done.model == embedder.name, "and it says who it was", done.model)


async def what_is_no_text_is_refused(make: Make) -> None:
    """UsageError: a text is empty or no text; nothing was sent."""
    embedder = await make()
    for texts in (["a", ""], ["a", 7], ["half \ud800"], "not a list"):
        wrong = EmbedRequest(texts=cast("Any", texts))
        error = await refused(UsageError, embedder.embed(wrong), f"{texts!r} cannot be embedded")
        expect(embedder.name in str(error), "the message says who refused", error)


async def dimensions_are_given_or_refused(make: Make) -> None:
    """Vectors are as long as asked; a length that cannot be had is refused and never ignored."""
    embedder = await make()
    for wanted in (256, 12):
        try:
            done = await embedder.embed(EmbedRequest(texts=_TEXTS[:2], dimensions=wanted))
        except UsageError:
            continue
        expect({len(each.values) for each in done.embeddings} == {wanted}, "as long as asked for", wanted)
    for wanted in (0, -1):
        await refused(UsageError, embedder.embed(EmbedRequest(texts=["a"], dimensions=wanted)), "no such length")


async def encodings_are_given_or_refused(make: Make) -> None:
    """An encoding that is not among `encodings` is refused, the others have a value for each dimension."""
    embedder = await make()
    expect("float" in embedder.encodings, "floats can always be had", embedder.encodings)
    plain = await embedder.embed(EmbedRequest(texts=_TEXTS))
    own = len(plain.embeddings[0].values)
    for encoding in ENCODINGS:
        request = EmbedRequest(texts=_TEXTS, encoding=encoding)
        if encoding not in embedder.encodings:
            await refused(UsageError, embedder.embed(request), f"{encoding} is not among the encodings")
            continue
        done = await embedder.embed(request)
        expect({len(each.values) for each in done.embeddings} == {own}, "a value for each dimension", encoding)
        size = {"float": 0, "base64": 4 * own, "int8": own, "uint8": own}.get(encoding, own // 8)
        expect({len(each.raw) for each in done.embeddings} == {size}, "what is packed has its size", encoding)
        if encoding in ("base64", "int8", "binary", "ubinary"):
            near = similarity(plain.embeddings[0].values, done.embeddings[0].values)
            expect(near > 0.5, "it points where the floats point", encoding, near)


async def tasks_are_known_or_refused(make: Make) -> None:
    """Any task that is not among `tasks` is refused, and to give none is always allowed."""
    embedder = await make()
    for task in TASKS:
        request = EmbedRequest(texts=["a lease"], task=task)
        if task in embedder.tasks:
            expect(len((await embedder.embed(request)).embeddings) == 1, "a task it knows is done", task)
        else:
            error = await refused(UsageError, embedder.embed(request), f"{task} is not among the tasks")
            expect(task in str(error), "the message names it", error)


async def progress_is_told_up_to_the_end(make: Make) -> None:
    """Told how many texts are done, and of how many."""
    embedder = await make()
    told: list[tuple[int, int]] = []
    texts = [f"text {number}" for number in range(_MANY)]
    await embedder.embed(EmbedRequest(texts=texts, progress=lambda done, total: told.append((done, total))))
    expect(told == sorted(told), "it only grows", told)
    expect({total for _, total in told} == {_MANY} and told[-1][0] == _MANY, "and ends with all", told[-1:])


async def what_progress_raises_reaches_the_caller(make: Make) -> None:
    """What it raises ends the work and reaches whoever asked for it."""
    embedder = await make()

    def stop(done: int, total: int) -> None:
        raise LookupError(f"enough after {done} of {total}")

    await refused(LookupError, embedder.embed(EmbedRequest(texts=_TEXTS, progress=stop)), "the caller hears of it")


async def many_requests_at_once_do_not_mix(make: Make) -> None:
    """An embedder is usable by many at once."""
    embedder = await make()
    lists = [[f"list {number}, text {place}" for place in range(5)] for number in range(8)]
    together = await asyncio.gather(*(embedder.embed(EmbedRequest(texts=texts)) for texts in lists))
    for texts, done in zip(lists, together, strict=True):
        expect(len(done.embeddings) == len(texts), "each list has all its vectors", texts)
        alone = await embedder.embed(EmbedRequest(texts=texts))
        pairs = zip(alone.embeddings, done.embeddings, strict=True)
        expect(all(_same(one.values, other.values) for one, other in pairs), "each list has its own vectors", texts)


async def a_cancelled_request_leaves_the_embedder_usable(make: Make) -> None:
    """Whoever stops waiting harms nobody else."""
    embedder = await make()
    task = asyncio.create_task(embedder.embed(EmbedRequest(texts=[f"text {number}" for number in range(_MANY)])))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    expect(task.cancelled() or task.exception() is None, "a cancellation is one", task)
    expect(len((await embedder.embed(EmbedRequest(texts=_TEXTS))).embeddings) == len(_TEXTS), "and it goes on")


async def the_bill_is_whole_or_unknown(make: Make) -> None:
    """A cost is whole nanodollars of tokens that were counted, or None; never guessed."""
    embedder = await make()
    done: Embeddings = await embedder.embed(EmbedRequest(texts=_TEXTS))
    expect(done.model == embedder.name and "/" in done.model, "it says who it was", done.model)
    expect(done.cost is None or done.usage is not None, "no cost without tokens", done.cost)
    expect(done.cost is None or (type(done.cost) is int and done.cost >= 0), "whole nanodollars", done.cost)
    expect(done.usage is None or done.usage.output_tokens == 0, "vectors are no output tokens", done.usage)
    expect(partial_of(UsageError("x")) is None, "other errors carry no vectors")


async def the_text_itself_ranks_first(make: Make) -> None:
    """Vectors serve what they are for."""
    embedder = await make()
    ranking = await rank(embedder, "bread with butter", _TEXTS, top=2)
    expect([each.index for each in ranking.nearest][:1] == [2], "the same words are nearest", ranking)
    expect(len(ranking.nearest) == 2, "as many as asked for", ranking)


CHECKS: tuple[Check, ...] = (
    each_text_has_its_vector_in_its_place,
    long_lists_keep_their_order,
    no_texts_are_no_vectors,
    what_is_no_text_is_refused,
    dimensions_are_given_or_refused,
    encodings_are_given_or_refused,
    tasks_are_known_or_refused,
    progress_is_told_up_to_the_end,
    what_progress_raises_reaches_the_caller,
    many_requests_at_once_do_not_mix,
    a_cancelled_request_leaves_the_embedder_usable,
    the_bill_is_whole_or_unknown,
    the_text_itself_ranks_first,
)
"""Every check."""
