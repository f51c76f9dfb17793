"""All models of one key share one pace, so that a refusal for the rate brings no herd."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.loopback import Request, Server, answer, serving
from tests.running import until

from holdfast import Agent, Runtime
from holdfast.flow.clock import SystemClock
from holdfast.models.access.access import Access, Own
from holdfast.models.access.making import ModelMaker
from holdfast.models.providers.talking import HttpModel
from holdfast.models.wire.chat.serving import render_answer
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.testing.clock import FakeClock
from holdfast.types import AssistantMessage, Limits, Text, Usage

ANSWER = render_answer(AssistantMessage((Text("hello"),), "m", "stop", Usage(5, 5)), id="a")
WAIT = 5.0


class Counting:
    """A provider that refuses for a while, and counts who comes when and how many at once."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.came: list[float] = []
        self.active = self.most = 0
        self.opens = WAIT

    async def __call__(self, request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        now = self.clock.monotonic()
        self.came.append(now)
        if now < self.opens:
            writer.write(answer(b"{}", "429 Too Many Requests", f"Retry-After: {self.opens - now:g}\r\n"))
            return
        self.active += 1
        self.most = max(self.most, self.active)
        for _ in range(30):
            await asyncio.sleep(0)
        self.active -= 1
        writer.write(answer(ANSWER, headers="Content-Type: application/json\r\n"))


async def passing(clock: FakeClock, tasks: list[asyncio.Task[Any]], seconds: float = 120) -> None:
    """Lets time pass until all is done, with room for the network after each step."""
    for _ in range(round(seconds / 0.5)):
        for _ in range(300):
            await asyncio.sleep(0)
        if all(each.done() for each in tasks):
            return
        await clock.advance(0.5)
    raise AssertionError("it never ended")


@pytest.mark.requirement("access:lanes")
async def test_thirty_runs_that_are_refused_for_the_rate_wait_and_come_a_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()
    counting = Counting(clock)
    async with asyncio.timeout(60), serving(counting) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        async with Runtime.open("memory:", sandbox="none", clock=clock) as runtime:

            async def one(number: int) -> Any:
                run = await runtime.start(Agent("openai/m" if number % 2 else "openai/other"), "hi")
                return await run.result()

            first = [asyncio.create_task(one(number)) for number in range(30)]
            await until(lambda: len(counting.came) == 30, "not all were sent")
            for _ in range(500):
                await asyncio.sleep(0)
            later = [asyncio.create_task(one(number)) for number in range(10)]
            await passing(clock, first + later)
            results = [each.result() for each in first + later]
    assert {each.output for each in results} == {"hello"}
    assert counting.came[:30] == [0.0] * 30
    assert min(counting.came[30:]) >= WAIT, "nobody comes before the time, also who comes later"
    assert len(counting.came) == 70, "each was refused once at most"
    assert counting.most <= 15 + 10, "half as many at once as there were, and one more for so many answers"


@pytest.mark.requirement("access:lanes")
async def test_one_pace_belongs_to_one_provider_address_and_key() -> None:
    env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://a.example", "GROQ_API_KEY": "k"}
    async with HttpClient(TRUSTED) as client:
        maker = ModelMaker(client, SystemClock(), access=Access(keys={"anthropic": lambda: "k"}), env=env)

        def pace(spec: str, own: Own | None = None) -> object:
            model = maker.find(spec, own)[0].fresh()
            assert isinstance(model, HttpModel)
            return model.pace

        shared = pace("openai/a")
        assert pace("openai/b") is not shared, "providers count for each model"
        assert pace("openai/a", Own("k", None)) is shared, "the same key, whoever gave it"
        assert pace("openai/a", Own("other", None)) is not shared
        assert pace("groq/a") is not shared
        assert pace("anthropic/a") is pace("anthropic/a")
        env["OPENAI_BASE_URL"] = "http://b.example"
        assert pace("openai/a") is not shared
        for number in range(2000):
            maker.find("openai/a", Own(f"k{number}", None))
        assert len(maker._paces) <= 513
        assert len(maker._made) <= 512


@pytest.mark.requirement("access:lanes")
async def test_a_key_that_is_refused_for_its_rate_holds_no_other_key_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def limited(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        if request.headers["authorization"] == "Bearer spent":
            writer.write(answer(b"{}", "429 Too Many Requests", "Retry-After: 50\r\n"))
        else:
            writer.write(answer(ANSWER, headers="Content-Type: application/json\r\n"))

    clock = FakeClock()
    async with asyncio.timeout(30), serving(limited) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        async with Runtime.open("memory:", sandbox="none", clock=clock) as runtime:
            spent = await runtime.start(Agent("openai/m", key="spent"), "hi", limits=Limits(model_retries=0))
            await spent.result()
            free = await runtime.start(Agent("openai/m", key="free"), "hi")
            assert (await free.result()).output == "hello"
