"""A conversation as one target takes it, call after call, while it grows."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pictures import asked, bomb, opened, pdf, picture, raw
from tests.running import soon

from holdfast.errors import MediaUnsupported
from holdfast.models.media import preparing
from holdfast.models.media.limits import MediaLimits
from holdfast.models.media.preparing import MediaFitter, prepare
from holdfast.types import AssistantMessage, Image, Message, Text, UserMessage, UserPart

SMALL = MediaLimits(side=20)
LARGE = picture("image/png", 60, 30, name="large")
FINE = picture("image/jpeg", 9, 9, name="fine")
ANSWER = AssistantMessage((Text("I see."),), "m")


def counted() -> tuple[list[UserPart], object]:
    """Returns a list of what is decoded from now on, and what to enter for that."""
    seen: list[UserPart] = []

    def fit(part: UserPart, *others: object, **more: object) -> UserPart:
        seen.append(part)
        return real(part, *others, **more)  # type: ignore[arg-type]

    real = preparing.fit
    return seen, patch.object(preparing, "fit", fit)


def parts_of(messages: object) -> list[UserPart]:
    assert isinstance(messages, list)
    return [part for message in messages if isinstance(message, UserMessage) for part in message.parts]


@pytest.mark.requirement("media:identity")
async def test_a_conversation_of_which_nothing_changes_is_the_same_list_each_time() -> None:
    fitter, messages = MediaFitter(SMALL), list[Message]()
    for message in (asked("hi"), ANSWER, asked("see", FINE), ANSWER, asked(pdf())):
        messages.append(message)
        assert await fitter.fit(messages) is messages
        assert await fitter.fit(messages) is messages


@pytest.mark.requirement("media:identity")
async def test_once_something_changed_one_list_grows_with_the_conversation() -> None:
    fitter, messages = MediaFitter(SMALL), [asked("hi"), asked("see", LARGE), ANSWER]
    out = await fitter.fit(messages)
    assert out is not messages
    assert (out[0], out[2]) == (messages[0], ANSWER)
    assert out[0] is messages[0]
    early = list(out)
    for message in (ANSWER, asked("and", FINE), asked(LARGE)):
        messages.append(message)
        assert await fitter.fit(messages) is out
    assert all(now is before for now, before in zip(out, early, strict=False))
    assert out[4] is messages[4]
    assert parts_of(out)[2] is parts_of(out)[-1]  # the same picture again, fitted once


@pytest.mark.requirement("media:work-once")
async def test_each_picture_is_decoded_once_however_often_and_wherever_it_is_sent() -> None:
    seen, watching = counted()
    fitter, messages = MediaFitter(SMALL), [asked(LARGE), asked("again", LARGE)]
    with watching:  # type: ignore[attr-defined]
        first = parts_of(await fitter.fit(messages))
        for _ in range(5):
            messages.append(asked("more"))
            await fitter.fit(messages)
        shorter = parts_of(await fitter.fit([asked("summary"), messages[1]]))
    assert seen == [LARGE]
    assert shorter[-1] is first[0]


@pytest.mark.requirement("media:work-once")
async def test_what_is_left_out_is_not_decoded() -> None:
    seen, watching = counted()
    messages = [asked(picture("image/png", 30 + number, 30)) for number in range(200)]
    with watching:  # type: ignore[attr-defined]
        await prepare(messages, MediaLimits(side=20, images=4))
        assert len(seen) <= 4
        seen.clear()
        big = [asked(picture("image/jpeg", 200 + number, 200, noise=True)) for number in range(60)]
        out = await prepare(big, MediaLimits(side=150, request_bytes=30_000))
    kept = sum(isinstance(part, Image) for part in parts_of(out))
    assert 0 < kept < 5
    assert len(seen) < 12


@pytest.mark.requirement("media:work-once")
async def test_what_is_no_longer_sent_is_not_kept() -> None:
    fitter, messages = MediaFitter(MediaLimits(side=20, images=2)), [asked(picture("image/png", 50, 50))]
    for number in range(30):
        messages.append(asked(picture("image/png", 51 + number, 50)))
        await fitter.fit(messages)
        assert len(fitter._fits) <= 2
    await fitter.fit([ANSWER, asked(LARGE)])
    assert list(fitter._fits) == [LARGE]


@pytest.mark.requirement("media:many-at-once")
async def test_ten_pictures_at_once_are_all_fitted_beside_the_loop() -> None:
    messages = [asked("all", *[picture("image/png", 400 + number, 300, noise=True) for number in range(10)])]
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    out = await soon(prepare(messages, SMALL), 30)
    ticking.cancel()
    assert [opened(part).size for part in parts_of(out)[1:]] == [(20, 20 * 300 // (400 + n)) for n in range(10)]
    assert ticks > 50


@pytest.mark.requirement("media:many-at-once")
async def test_a_conversation_that_grows_while_pictures_are_decoded_is_fitted_to_its_end() -> None:
    fitter, messages = MediaFitter(SMALL), [asked(LARGE)]
    coming = asyncio.create_task(fitter.fit(messages))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    messages.append(asked(picture("image/png", 77, 77)))
    out = await soon(coming)
    assert len(out) == 2
    assert all(max(opened(part).size) <= 20 for part in parts_of(out))


@pytest.mark.requirement("media:many-at-once")
async def test_a_cancelled_call_leaves_nothing_half_done() -> None:
    fitter, messages = MediaFitter(SMALL), [asked(LARGE), asked("and", picture("image/png", 90, 90))]
    coming = asyncio.create_task(fitter.fit(messages))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    coming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(coming)
    out = await soon(fitter.fit(messages))
    assert list(out) == list(await prepare(messages, SMALL))
    assert out is await fitter.fit(messages)


@pytest.mark.requirement("media:refused")
async def test_what_cannot_be_sent_is_refused_each_time_and_tried_once() -> None:
    cut = Image("image/png", LARGE.data[:-30], "cut.png")
    seen, watching = counted()
    fitter, messages = MediaFitter(SMALL, "p/m"), [asked(cut)]
    with watching:  # type: ignore[attr-defined]
        for _ in range(3):
            with pytest.raises(MediaUnsupported, match=r"'p/m' cannot be shown the image 'cut.png'"):
                await fitter.fit(messages)
    assert seen == [cut]
    assert await prepare(messages, MediaLimits()) is messages


@pytest.mark.requirement("media:refused")
async def test_a_bomb_that_nobody_is_shown_any_more_stops_nobody() -> None:
    messages = [asked(Image("image/png", bomb(50_000, 50_000))), *[asked(FINE) for _ in range(4)]]
    fitter = MediaFitter(MediaLimits(images=4))
    with pytest.raises(MediaUnsupported):
        await fitter.fit(messages[:4])
    assert sum(isinstance(part, Image) for part in parts_of(await fitter.fit(messages))) <= 4


@pytest.mark.requirement("media:many-pictures-smaller")
async def test_with_more_than_so_many_pictures_each_is_made_smaller_and_stays_so() -> None:
    limits = MediaLimits(many=3, many_side=20)
    fitter, messages = MediaFitter(limits), [asked(LARGE), asked(FINE), asked(FINE)]
    assert await fitter.fit(messages) is messages
    messages.append(asked(FINE))
    out = await fitter.fit(messages)
    assert opened(parts_of(out)[0]).size == (20, 10)
    messages.append(asked("words"))
    assert await fitter.fit(messages) is out


@pytest.mark.requirement("media:many-pictures-smaller", "media:identity")
async def test_pictures_that_are_small_already_change_nothing_when_there_are_many() -> None:
    bitmap = Image("image/png", raw("image/bmp", 15, 10))
    fitter, messages = MediaFitter(MediaLimits(many=2, many_side=20)), [asked(bitmap), asked(FINE)]
    out = await fitter.fit(messages)
    first = out[0]
    messages.append(asked(FINE))
    assert await fitter.fit(messages) is out
    assert list(out) == [first, *messages[1:]]
    assert out[0] is first


@pytest.mark.requirement("media:identity")
async def test_a_list_that_did_not_only_grow_is_looked_at_anew() -> None:
    fitter, messages = MediaFitter(SMALL), [asked(LARGE), asked("two")]
    await fitter.fit(messages)
    messages[1] = asked("other", FINE)
    assert list(await fitter.fit(messages))[1] == messages[1]
    del messages[0]
    assert await fitter.fit(messages) is messages


@pytest.mark.requirement("media:inputs-unmodified")
@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from([FINE, LARGE, pdf(), "words"]), max_size=4), max_size=8), st.integers(1, 4))
async def test_messages_are_never_changed(groups: list[list[Image | str]], most: int) -> None:
    messages = [asked(*group) for group in groups]
    before, objects = msgspec.json.encode(messages), list(messages)
    fitter = MediaFitter(MediaLimits(side=20, images=most, many=2, many_side=5))
    for end in range(len(messages) + 1):
        await fitter.fit(messages[:end])
    await fitter.fit(messages)
    assert msgspec.json.encode(messages) == before
    assert all(now is then for now, then in zip(messages, objects, strict=True))


class Watched(list[Message]):
    looks = 0

    def __getitem__(self, at: object) -> Message:  # type: ignore[override]
        Watched.looks += 1
        return list.__getitem__(self, at)  # type: ignore[index, arg-type, return-value]


@pytest.mark.requirement("media:identity")
async def test_with_pictures_too_each_call_looks_only_at_what_is_new() -> None:
    fitter, messages = MediaFitter(SMALL), Watched([asked(LARGE), ANSWER] * 200)
    await fitter.fit(messages)
    for _ in range(5):
        messages.append(ANSWER)
        Watched.looks = 0
        await fitter.fit(messages)
        assert Watched.looks < 10


@pytest.mark.requirement("media:identity")
async def test_words_alone_cost_a_look_at_each_message_once() -> None:
    fitter, messages = MediaFitter(SMALL), Watched([asked("hi"), ANSWER] * 500)
    assert await fitter.fit(messages) is messages
    Watched.looks = 0
    for _ in range(10):
        assert await fitter.fit(messages) is messages
    assert Watched.looks <= 10


FORKED = """
import asyncio, os, sys
from holdfast.models.media.limits import MediaLimits
from holdfast.models.media.preparing import prepare
from holdfast.types import Image, UserMessage
messages = [UserMessage((Image("image/png", sys.stdin.buffer.read()),))]
asyncio.run(prepare(messages, MediaLimits(side=20)))
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
asyncio.run(asyncio.wait_for(prepare(messages, MediaLimits(side=20)), 10))
os._exit(7)
"""


@pytest.mark.requirement("media:many-at-once")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_fork_does_not_wait_for_threads_that_stayed_with_its_parent() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKED]
    done = subprocess.run(command, input=LARGE.data, capture_output=True, timeout=60, check=False)
    assert done.returncode == 7, done.stderr.decode()
