"""How much a model is told to think, from the agent to the bytes that are sent."""

from __future__ import annotations

from typing import Any

import pytest
from tests.running import scene, soon

from holdfast import Agent
from holdfast.models.catalogue import lookup
from holdfast.testing.scripts import Turn
from holdfast.types import ThinkingLevel


async def sent(model: str, level: ThinkingLevel | None) -> dict[str, Any]:
    """Returns the body of the request of an agent that thinks so much."""
    async with scene([Turn("done")]) as s:
        run = await s.runtime.start(Agent(model, thinking=level), "go")
        assert (await soon(run.result())).output == "done"
        body = s.server.requests[0].json()
    assert isinstance(body, dict)
    return body


@pytest.mark.requirement("models:thinking-highest-clamped")
async def test_the_highest_level_is_sent_where_a_model_has_it_and_the_next_lower_one_elsewhere() -> None:
    card = lookup("openai/gpt-5-mini")
    assert card is not None
    assert card.thinking is not None
    assert "xhigh" not in card.thinking
    assert (await sent("openai/gpt-5-mini", "xhigh"))["reasoning_effort"] == "high"
    assert (await sent("anthropic/claude-opus-4-6", "xhigh"))["output_config"] == {"effort": "max"}
    assert (await sent("anthropic/claude-sonnet-4-5", "xhigh"))["thinking"]["budget_tokens"] == 16_384
    with_it = next(name for name in ("openai/gpt-5.2", "openai/gpt-5.1-codex-max") if has_highest(name))
    assert (await sent(with_it, "xhigh"))["reasoning_effort"] == "xhigh"


def has_highest(name: str) -> bool:
    card = lookup(name)
    return card is not None and card.thinking is not None and "xhigh" in card.thinking


async def test_a_model_that_does_not_think_is_told_nothing_of_it() -> None:
    card = lookup("openai/gpt-4o")
    assert card is not None
    assert card.thinking == ()
    assert "reasoning_effort" not in await sent("openai/gpt-4o", "high")
    assert "reasoning_effort" not in await sent("openai/gpt-5-mini", None)


async def test_a_model_that_nobody_knows_is_believed_to_have_every_level_but_the_highest() -> None:
    assert (await sent("openai/nobody-knows", "minimal"))["reasoning_effort"] == "minimal"
    assert (await sent("openai/nobody-knows", "xhigh"))["reasoning_effort"] == "high"
