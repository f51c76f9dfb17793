"""Too many pictures: the newest are sent, and what a provider keeps of the beginning stays good for long."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pictures import asked, pdf, picture

from holdfast.models.media.limits import MediaLimits, as_sent
from holdfast.models.media.newest import left_out, placeholder
from holdfast.models.media.preparing import MediaFitter, prepare
from holdfast.types import AssistantMessage, Document, Image, Message, Text, UserMessage

DOT = picture("image/png", 3, 3)


def shots(count: int) -> list[Message]:
    """Returns a conversation with so many pictures, one in each message, all different."""
    return [asked("look", Image("image/png", DOT.data, f"{number}")) for number in range(count)]


def sent(messages: object) -> list[str]:
    """Returns the names of the pictures and documents in a conversation."""
    assert isinstance(messages, list)
    parts = [part for message in messages if isinstance(message, UserMessage) for part in message.parts]
    return [part.name for part in parts if isinstance(part, Image | Document)]


@pytest.mark.requirement("models:media-newest-images", "media:newest-kept")
async def test_of_too_many_pictures_the_newest_stay_and_words_stand_for_the_older_ones() -> None:
    messages = shots(11)
    out = await prepare(messages, MediaLimits(images=10))
    assert sent(out) == [f"{number}" for number in range(5, 11)]
    first, last = out[0], out[-1]
    assert first == asked("look", "[The image '0' is left out here: only the newest ones are sent.]")
    assert last is messages[-1]
    assert sent(messages) == [f"{number}" for number in range(11)]


@pytest.mark.requirement("models:media-newest-images", "media:newest-kept")
async def test_what_came_last_is_not_left_out_for_the_sake_of_round_numbers() -> None:
    fifteen = asked(*[Image("image/png", DOT.data, f"new {number}") for number in range(15)])
    out = await prepare([*shots(6), fifteen], MediaLimits(images=20))
    assert sent(out) == [f"new {number}" for number in range(15)]
    out = await prepare([*shots(3), fifteen], MediaLimits(images=12))
    assert sent(out) == [f"new {number}" for number in range(3, 15)]
    assert sent(await prepare(shots(4), MediaLimits(images=1))) == ["3"]


@pytest.mark.requirement("media:prefix-stable")
@pytest.mark.parametrize("most", [1, 2, 5, 20])
async def test_the_beginning_changes_only_once_for_half_as_many_pictures_as_are_taken(most: int) -> None:
    fitter, messages = MediaFitter(MediaLimits(images=most)), list[Message]()
    outs: list[list[Message]] = []
    for message in shots(6 * most):
        messages.append(message)
        outs.append(list(await fitter.fit(messages)))
    changes = [new for old, new in pairwise(outs) if new[: len(old)] != old]
    assert len(changes) <= 6 * most / max(1, most // 2)
    assert all(most // 2 < len(sent(out)) <= most or len(sent(out)) == len(out) for out in outs)


@pytest.mark.requirement("media:prefix-stable")
@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=25), st.integers(1, 6), st.integers(6000, 20_000))
async def test_what_is_left_out_depends_on_the_conversation_alone(counts: list[int], most: int, size: int) -> None:
    limits = MediaLimits(images=most, request_bytes=size, many=4, many_side=2)
    fitter, messages = MediaFitter(limits), list[Message]()
    for place, count in enumerate(counts):
        parts = [Image("image/png", DOT.data, f"{place} {number}") for number in range(count)]
        messages.append(asked(*parts, pdf(500 + 100 * place, f"{place}"), "words"))
        grown = await fitter.fit(messages)
        fresh = await prepare(list(messages), limits)
        assert list(grown) == list(fresh)
        pictures = [name for name in sent(grown) if " " in name]
        assert len(pictures) <= most
        every = [name for name in sent(messages) if " " in name]
        assert pictures == every[len(every) - len(pictures) :]


@pytest.mark.requirement("media:request-bytes")
async def test_what_is_too_large_together_loses_its_oldest_pictures_and_documents() -> None:
    limits = MediaLimits(request_bytes=10_000)
    messages = [asked(pdf(2400, f"{number}")) for number in range(4)]
    assert sent(await prepare(messages, limits)) == ["2", "3"]
    assert as_sent(2400) == 3200
    assert (await prepare(messages[:3], limits)) == messages[:3]


@pytest.mark.requirement("media:request-bytes")
@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(300, 4000), max_size=3), max_size=20))
async def test_all_that_is_sent_together_is_never_too_large(sizes: list[list[int]]) -> None:
    limits = MediaLimits(request_bytes=12_000)
    fitter, messages = MediaFitter(limits), list[Message]()
    for group in sizes:
        messages.append(asked("see", *[pdf(size) for size in group]))
        out = await fitter.fit(messages)
        parts = [part for message in out if isinstance(message, UserMessage) for part in message.parts]
        assert sum(as_sent(len(part.data)) for part in parts if isinstance(part, Document)) <= 12_000
        if group:
            assert isinstance(parts[-1], Document)


@given(st.integers(1, 300), st.integers(1, 50))
def test_whole_pages_are_left_out_and_never_fewer_than_have_to_be(count: int, most: int) -> None:
    needed = max(0, count - most)
    gone = left_out(needed, range(count + 1), most, count - 1)
    assert gone >= needed
    assert count - gone >= min(count, most // 2 + most % 2)
    assert gone <= left_out(max(0, count + 1 - most), range(count + 2), most, count)


def test_a_placeholder_says_what_was_there_in_few_words() -> None:
    assert placeholder(pdf(name="a.pdf")).text.startswith("[The document 'a.pdf' is left out")
    assert len(placeholder(Image("image/png", b"", "n" * 5000)).text) < 200
    assert placeholder(DOT) == Text("[The image is left out here: only the newest ones are sent.]")


async def test_answers_and_results_are_not_looked_at() -> None:
    messages: list[Message] = [AssistantMessage((Text("hi"),), "m"), *shots(3)]
    out = await prepare(messages, MediaLimits(images=2))
    assert out[0] is messages[0]
