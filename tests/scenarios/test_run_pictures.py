"""Pictures in a run: each model of a chain gets them as it takes them, or the next one is asked."""

from __future__ import annotations

import base64
import io
from typing import Any

import PIL.Image
import pytest
from tests.pictures import raw
from tests.running import asked, scene, soon

from holdfast import Agent, Image
from holdfast.engine.events import ModelFailed
from holdfast.models.media.limits import limits_of
from holdfast.testing.scripts import Turn
from holdfast.types import UserMessage


def sizes(messages: list[dict[str, Any]]) -> list[int]:
    """Returns how wide each picture is that a Messages request holds."""
    blocks = [block for each in messages for block in each["content"] if block["type"] == "image"]
    files = [io.BytesIO(base64.b64decode(block["source"]["data"])) for block in blocks]
    return [PIL.Image.open(file).width for file in files]


@pytest.mark.requirement("models:media-fits-target")
async def test_a_picture_that_is_too_large_for_the_model_is_made_smaller_and_stays_as_it_is_in_the_log() -> None:
    side = limits_of("anthropic").side
    assert side is not None
    picture = Image("image/png", raw("image/png", side + 1000, 40))
    async with scene([Turn("Grey."), Turn("Still grey.")]) as s:
        run = await s.runtime.start(Agent("anthropic/m"), ["What colour?", picture], session="s")
        assert (await soon(run.result())).output == "Grey."
        again = await s.runtime.start(Agent("anthropic/m"), "And now?", session="s")
        assert (await soon(again.result())).output == "Still grey."
        requests = asked(s.server)
        first = (await s.log())[0].data
    widths = [sizes(each) for each in requests]
    assert widths == [[width] for (width,) in widths]
    assert all(0 < width <= side for (width,) in widths)
    assert isinstance(first.message, UserMessage)  # type: ignore[union-attr] - what was received
    assert picture in first.message.parts  # type: ignore[union-attr]


@pytest.mark.requirement("models:media-fits-target")
async def test_a_picture_that_a_model_takes_in_no_form_moves_the_chain_on_and_benches_nobody() -> None:
    broken = Image("image/png", b"\x89PNG\r\n\x1a\n" + b"no picture at all" * 10)
    async with scene({"one": [Turn("n")], "two": [Turn("n")]}) as s:
        run = await s.runtime.start(Agent("anthropic/one,openai/two"), ["What?", broken], session="s")
        result = await soon(run.result())
        failures = [event.data for event in await s.log() if isinstance(event.data, ModelFailed)]
        assert asked(s.server) == [], "nobody was sent what nobody takes"
        assert not s.runtime.health.snapshot()
    assert result.status == "failed"
    assert [(each.model, each.code) for each in failures] == [
        ("anthropic/one", "media_unsupported"),
        ("openai/two", "media_unsupported"),
    ]
