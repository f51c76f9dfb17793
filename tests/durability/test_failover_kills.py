"""A process is killed between an answer that died and the model that goes on with it; the next process goes on there.

`HOLDFAST_CAMPAIGN=1` kills forty, at instants spread over the seam.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.running import soon

from holdfast import Agent, Limits, Runtime
from holdfast.engine.events import CODEC, ModelFailed, ModelFinished
from holdfast.journal.reading import read_events
from holdfast.testing import ScriptedModelServer, Turn
from holdfast.testing.faults import Reset
from holdfast.testing.scripts import ScriptRequest, Tokens
from holdfast.types import AssistantMessage, Event, Price, stream_id

CHAIN = "openai/first,anthropic/claude-haiku-4-5"
WORDS = "The beginning and the rest."
USED = Tokens(input_tokens=40, output_tokens=9)
PRICES = {"openai/first": Price.per_million(1, 2)}
DELAYS = [each / 1000 for each in (range(0, 120, 3) if os.environ.get("HOLDFAST_CAMPAIGN") else (0, 8, 30))]
_CODE = "import sys; from tests.durability.test_failover_kills import go; go(sys.argv[1], sys.argv[2] == 'bound')"


def agent(*, bound: bool) -> Agent:
    return Agent(CHAIN, limits=Limits(tokens=200_000, dollars=1.0) if bound else Limits(model_retries=0))


def go(url: str, bound: bool) -> None:
    """Is the process that is killed."""

    async def main() -> None:
        async with Runtime.open(url, prices=PRICES) as runtime:
            run = await runtime.start(agent(bound=bound), "go", session="s")
            await run.result()

    asyncio.run(main())


class Second:
    """The model that goes on: it answers nobody until the process that asked first is dead."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.free = threading.Event()
        self.begun: list[str] = []

    async def __call__(self, asked: ScriptRequest) -> Turn:
        last = asked.messages[-1]
        self.begun.append(last.text if isinstance(last, AssistantMessage) else "")
        self.asked.set()
        await asyncio.to_thread(self.free.wait, 20)
        return Turn(WORDS[len(self.begun[-1]) :], usage=USED)


def dying(asked: ScriptRequest) -> Turn:
    return Turn(WORDS, fault=Reset(after_events=3), chunk=7)


def killed(url: str, server: ScriptedModelServer, second: Second, bound: bool, delay: float | None) -> None:
    """Runs a process until the second model is asked, or for a while after the first one was, and kills it."""
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": server.base_url,
        "ANTHROPIC_BASE_URL": server.origin,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    arguments = [sys.executable, "-c", _CODE, url, "bound" if bound else "free"]
    process = subprocess.Popen(arguments, env=environment, start_new_session=True)
    try:
        if delay is None:
            assert second.asked.wait(20)
        else:
            assert server.wait_arrived(1, 20)
            threading.Event().wait(delay)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    second.free.set()


async def gone_on(url: str, monkeypatch: pytest.MonkeyPatch, server: ScriptedModelServer) -> tuple[str, list[Event]]:
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.origin)
    async with Runtime.open(url, prices=PRICES) as runtime:
        result = await soon((await runtime.resume("s")).result(), 20)
        log = [event async for event in read_events(runtime.journal, stream_id("local", "s"), CODEC)]
    return result.output, log


@pytest.mark.requirement("routing:seam-survives")
async def test_a_process_that_is_killed_at_the_seam_loses_no_word_and_no_charge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, second = f"sqlite:///{tmp_path / 's.db'}", Second()
    with ScriptedModelServer.in_thread({"first": dying, "claude-haiku-4-5": second}) as server:
        await asyncio.to_thread(killed, url, server, second, True, None)
        output, log = await gone_on(url, monkeypatch, server)
        asked = [each.model for each in server.requests]
    failures = [event.data for event in log if isinstance(event.data, ModelFailed)]
    answers = [event.data for event in log if isinstance(event.data, ModelFinished)]
    assert output == WORDS
    assert [each.message.text for each in answers] == [WORDS]
    assert second.begun[0].strip()
    assert second.begun == [second.begun[0]] * 2  # both were sent the same beginning
    assert WORDS.startswith(second.begun[0])
    assert asked == ["first", "claude-haiku-4-5", "claude-haiku-4-5"]
    assert [(each.code, each.model, each.mode) for each in failures] == [
        ("connection", "openai/first", "continue"),
        ("lost", "anthropic/claude-haiku-4-5", "continue"),
    ]
    assert failures[0].partial == failures[1].partial


@pytest.mark.requirement("routing:seam-survives")
@pytest.mark.parametrize("delay", DELAYS)
async def test_whenever_it_is_killed_around_the_seam_the_answer_is_whole_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delay: float
) -> None:
    url, second = f"sqlite:///{tmp_path / 's.db'}", Second()
    with ScriptedModelServer.in_thread({"first": dying, "claude-haiku-4-5": second}) as server:
        await asyncio.to_thread(killed, url, server, second, False, delay)
        output, log = await gone_on(url, monkeypatch, server)
    answers = [event.data for event in log if isinstance(event.data, ModelFinished)]
    assert (output, [each.message.text for each in answers]) == (WORDS, [WORDS])
    for event in log:
        if isinstance(event.data, ModelFailed) and event.data.mode == "continue":
            assert WORDS.startswith(event.data.partial.text if event.data.partial else "-")
