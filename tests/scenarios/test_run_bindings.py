"""Which functions a run calls, when several agents look the same in the log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holdfast import Agent, Runtime, tool
from holdfast.testing import Call, ScriptedModelServer, Turn

TURNS = [Turn(calls=[Call(name="who")]), Turn(text="done")]


def agent_of(name: str, seen: list[str]) -> Agent:
    @tool
    async def who() -> str:
        """Say for whom."""
        seen.append(name)
        return name

    return Agent("openai/scripted", tools=[who])


@pytest.mark.parametrize("store", ["memory:", "sqlite:///{}/j.db"])
async def test_a_run_calls_the_functions_of_the_agent_it_was_started_with(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    async with ScriptedModelServer(TURNS) as server, Runtime.open(store.format(tmp_path)) as runtime:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        agents = [agent_of(name, seen) for name in ("ann", "bob", "eve")]
        assert len({agent.digest for agent in agents}) == 1, "the log cannot tell them apart"
        runs = await asyncio.gather(*(runtime.start(agent, "go") for agent in agents))
        await asyncio.gather(*(run.result() for run in runs))
        assert sorted(seen) == ["ann", "bob", "eve"]
        assert runtime._bindings._lent == {}
