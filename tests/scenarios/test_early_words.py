"""What is said to a session before its first prompt waits for it, and is in nobody's way."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import Agent, Runtime
from holdfast.testing import ScriptedModelServer, ScriptRequest
from holdfast.types import UserMessage


@pytest.mark.parametrize("kind", ["steer", "follow_up"])
async def test_words_that_come_before_the_first_prompt_join_the_run_it_opens(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    heard: list[list[str]] = []

    def say(request: ScriptRequest) -> str:
        heard.append([message.text for message in request.messages if isinstance(message, UserMessage)])
        return "Well."

    async with ScriptedModelServer(say) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "scripted")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        async with Runtime.open("memory:") as runtime:
            await getattr(runtime.run("s", "nobody's"), kind)("Too early.")
            run = await runtime.start(Agent("openai/scripted"), "Begin.", session="s")
            result = await asyncio.wait_for(run.result(), 5)
    assert result.status == "completed"
    assert heard[-1] == ["Begin.", "Too early."]
