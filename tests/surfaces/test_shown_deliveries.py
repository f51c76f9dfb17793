"""What `holdfast runs show` says of where results went, and of phases that failed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.surfaces.commands import shell

from holdfast import Agent, Delivery, Phase, Pipeline, Runtime
from holdfast.testing import Turn
from holdfast.testing.faults import Status


@pytest.mark.requirement("newcomers:deliveries-shown")
def test_a_log_ends_with_what_arrived_and_what_did_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with shell(tmp_path, [Turn(text="Yes.")]) as sh:
        for name, value in sh.environment.items():
            if name.startswith("OPENAI"):
                monkeypatch.setenv(name, value)
        Path(sh.store.removeprefix("sqlite:///")).parent.mkdir(parents=True)

        async def printer(delivery: Delivery) -> None:
            raise OSError(f"no paper for {delivery.session}")

        async def go() -> None:
            async with Runtime.open(sh.store, targets={"printer": printer}) as runtime:
                agent = Agent("openai/gpt-5-mini")
                deliver = ["printer", f"file:{tmp_path / 'out'}"]
                run = await runtime.start(agent, "go", session="one", deliver=deliver)
                await run.result()
                await runtime.flush_deliveries()

        asyncio.run(asyncio.wait_for(go(), 20))
        lines = sh.run("runs", "show", "one").stdout.splitlines()
    assert "delivered 1 of 2 results" in lines
    assert any(line.startswith("  · printer  after 1 attempt") and "no paper for one" in line for line in lines)
    assert any(line.startswith("  ✓ file:") and line.endswith("arrived") for line in lines)


@pytest.mark.requirement("newcomers:fallback-shown")
def test_a_phase_that_failed_and_has_a_fallback_says_so_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = Turn(fault=Status(400, times=9))
    with shell(tmp_path, {"broken": [refused], "fine": [Turn(text="Done without.")]}) as sh:
        for name, value in sh.environment.items():
            if name.startswith("OPENAI"):
                monkeypatch.setenv(name, value)
        Path(sh.store.removeprefix("sqlite:///")).parent.mkdir(parents=True)

        async def go() -> None:
            async with Runtime.open(sh.store) as runtime:
                first = Phase("facts", Agent("openai/broken"), fallback="no facts")
                line = Pipeline([first, Phase("text", Agent("openai/fine"), "Write on {query} from {facts}.")])
                run = await runtime.start(line, "bolts", session="one")
                assert (await run.result()).status == "completed"

        asyncio.run(asyncio.wait_for(go(), 20))
        lines = sh.run("runs", "show", "one").stdout.splitlines()
    resolved = [line for line in lines if "wait.resolved" in line]
    assert ["failed, fallback used" in line for line in resolved] == [True, False]
