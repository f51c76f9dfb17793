"""A prompt that is sent again under its key is the same prompt, also after its process is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holdfast import Agent, Runtime
from holdfast.testing import ScriptedModelServer, Turn


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "scripted")


async def ask(store: str, text: str = "Well?", key: str = "k") -> tuple[str, int]:
    async with Runtime.open(store) as runtime:
        run = await runtime.start(Agent("openai/scripted"), text, session="s", key=key)
        result = await asyncio.wait_for(run.result(), 5)
        return result.output, result.seq


async def test_a_repeated_prompt_gets_the_answer_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = f"sqlite:///{tmp_path / 'log.db'}"
    async with ScriptedModelServer(["One.", "Two."]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        first = await ask(store)
        assert await ask(store, "And?", key="other") == ("Two.", 6)
        assert await ask(store) == first == ("One.", 2)
        assert len(server.requests) == 2


async def test_a_repeated_prompt_goes_on_with_the_run_a_stopped_process_left_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"sqlite:///{tmp_path / 'log.db'}"
    async with ScriptedModelServer([Turn("Never heard.", delay=30)]) as slow:
        monkeypatch.setenv("OPENAI_BASE_URL", slow.base_url)
        async with Runtime.open(store) as runtime:
            run = await runtime.start(Agent("openai/scripted"), "Well?", session="s", key="k")
            async for event in run.events():
                if event.type == "run.started":
                    break
    async with ScriptedModelServer(["Here."]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        assert await ask(store) == ("Here.", 2)
        server.verify()
