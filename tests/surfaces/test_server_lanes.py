"""Whom somebody waits for goes first, however much is asked; and a burst is told when to come back."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from tests.running import MODEL, scene, soon, until
from tests.serving import serving

from holdfast import Agent
from holdfast.flow.clock import SystemClock
from holdfast.server.access.keys.key import Wish
from holdfast.server.access.principal import Lane, Rates
from holdfast.server.access.settings import AccessSettings
from holdfast.server.governing.opening import governed
from holdfast.testing import ScriptRequest, Turn
from holdfast.types import TenantId

PLAIN = {"plain": Agent(MODEL, name="plain")}
PLACES = 4


class Slow:
    """A model that answers people at once, and robots when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.robots = 0

    async def __call__(self, request: ScriptRequest) -> Turn:
        if request.last_user_text.startswith("robot"):
            self.robots += 1
            await self.go.wait()
        return Turn(text="done")


@pytest.mark.requirement("server:limits-burst")
async def test_a_burst_of_the_background_is_told_when_to_come_back_and_people_find_a_place_at_once() -> None:
    model = Slow()
    async with (
        scene(model, at_once=PLACES) as s,
        governed(s.runtime, SystemClock(), AccessSettings(required=True)) as who,
        serving(PLAIN, runtime=s.runtime, access=who.access) as served,
    ):
        served.service.throttle = who.throttle

        async def key(lane: Lane, rate: float) -> dict[str, str]:
            wish = Wish(tenant=TenantId("local"), user=lane, role="writer", lane=lane, rates=Rates(requests=rate))
            return {"authorization": f"Bearer {(await who.keys.create(wish))[1]}"}

        async def ask(name: str, words: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
            body = {"name": name, "prompt": {"agent": "plain", "text": words}}
            async with served.client.post("/v1/sessions", json=body, headers=headers) as answer:
                await answer.read()
                return answer

        robot, person = await key("autonomous", 2.0), await key("interactive", 1_000.0)
        answers = await asyncio.gather(*(ask(f"r{each}", f"robot {each}", robot) for each in range(40)))
        refused = [each for each in answers if each.status == 429]
        assert {each.status for each in answers} == {201, 429}
        assert len(answers) - len(refused) >= 10 and len(refused) >= 20
        assert all(1 <= int(each.headers["retry-after"]) <= 60 for each in refused)
        await until(lambda: model.robots == PLACES - 1)
        for each in range(5):
            asked = await soon(ask(f"p{each}", "person", person))
            assert asked.status == 201
            await soon(_over(served.client, f"p{each}", person))
        assert model.robots == PLACES - 1, "more of the background was begun meanwhile"
        model.go.set()
        accepted = [number for number, each in enumerate(answers) if each.status == 201]
        for number in accepted:
            await soon(_over(served.client, f"r{number}", person))


async def _over(client: aiohttp.ClientSession, name: str, headers: dict[str, str]) -> None:
    """Returns when a session is idle again after its run completed."""
    url = f"/v1/sessions/{name}/events?until=idle"
    async with client.get(url, headers={**headers, "accept": "text/event-stream"}) as answer:
        text: Any = await answer.text()
        assert "run.finished" in text and '"completed"' in text
