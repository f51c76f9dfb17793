"""The hunt for lost wake-ups: one process parks, another one speaks at that very moment, and nobody is left waiting.

Spoken are answers, a person's word, pauses and resumes, steers; and what children came to, which the other process
takes up and brings to their ends as often as it can. Sessions wander between the two processes by that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.durability.parking_agents import AGENT
from tests.running import Wrapped, scene, soon

from holdfast import Runtime
from holdfast.engine.events import CODEC, ToolWaiting
from holdfast.errors import HoldfastError
from holdfast.journal.port import Journal, Park
from holdfast.journal.reading import Follower
from holdfast.runtime.lanes.claiming import LEASE_SECONDS
from holdfast.runtime.speaking import Speaking
from holdfast.testing import Call, ScriptedModelServer, Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import Event, SessionId, StreamId, Wait, stream_id

CAMPAIGN = os.environ.get("HOLDFAST_CAMPAIGN") == "1"
RACES = int(os.environ.get("HOLDFAST_RACES", "10000" if CAMPAIGN else "300"))
"""Times that somebody speaks while a session is about to park."""
STEPS = 30
"""Of one session; each third is a child, and that is two races."""
SESSIONS = RACES // (STEPS * 4 // 3)
STUCK = 60.0
"""Seconds after which a session that says nothing more is stuck: hints come within milliseconds."""
_NAMES = ("ask", "pay", "help")


def _lead(request: ScriptRequest) -> Turn | str:
    """Asks so often, each time under another token and in another way."""
    if (n := request.answers) >= STEPS:
        return "done"
    name = _NAMES[n % len(_NAMES)]
    return Turn(calls=[Call(name, {"prompt" if name == "help" else "token": f"t{n}"})])


def _help(request: ScriptRequest) -> Turn | str:
    return "helped" if request.answers else Turn(calls=[Call("ask", {"token": request.first_user_text})])


class _Speaker:
    """Whoever answers one session and its children, from the other process, as soon as a question is in the log, or a
    little later.
    """

    def __init__(self, runtime: Runtime, seed: int, spoken: Counter[str]) -> None:
        self._runtime = runtime
        self._random = random.Random(seed)
        self._spoken = spoken

    async def speak(self, session: str, waits: int) -> None:
        """Answers until so much was asked."""
        follower = Follower(self._runtime.journal, stream_id("local", session), CODEC, lambda _: None)
        try:
            while waits:
                for item in await asyncio.wait_for(follower.next(), STUCK):
                    if isinstance(item, Event) and isinstance(item.data, ToolWaiting):
                        await self._heard(session, item.data.wait)
                        waits -= 1
        finally:
            follower.close()

    async def _heard(self, session: str, wait: Wait) -> None:
        self._spoken[wait.kind] += 1
        if wait.kind != "child":
            await self._answer(session, wait.token)
            return
        await self.speak(wait.subject, 1)
        if self._random.random() < 0.7:
            with contextlib.suppress(HoldfastError):  # the first process was quicker
                await self._runtime.resume(wait.subject)

    async def _answer(self, session: str, token: str) -> None:
        # The later it speaks, the nearer the parking of the other process is to being over.
        await asyncio.sleep(self._random.random() * 0.004)
        speaking = self._runtime.session(SessionId(session))
        match self._random.randrange(4):
            case 0:
                await speaking.pause()
                await speaking.approve(token)
                await speaking.resume()
            case 1:
                await speaking.steer(f"beside {token}")
                await speaking.approve(token)
            case 2:
                await speaking.approve(token)
                await speaking.pause()
                await speaking.resume()
            case _:
                await speaking.approve(token)


@pytest.mark.requirement("engine:no-lost-wake-up")
async def test_whoever_speaks_while_a_session_parks_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = int(os.environ.get("HOLDFAST_SEED", random.SystemRandom().randrange(1 << 32)))
    url = f"sqlite:///{tmp_path}/s.db"
    names = [f"s{number}" for number in range(SESSIONS)]
    began, spoken = time.monotonic(), Counter[str]()
    async with ScriptedModelServer({"scripted": _lead, "helper": _help}) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.durability.parking_child", url, *names, stdout=asyncio.subprocess.PIPE
        )
        try:
            ended = await _hunt(url, names, seed, child, spoken)
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    assert sorted(ended) == sorted(f"done {name} completed" for name in names), f"HOLDFAST_SEED={seed}"
    assert spoken.total() >= SESSIONS * STEPS
    if CAMPAIGN:
        account = {"races": spoken.total(), "by kind": dict(spoken), "stuck": 0, "seed": seed}
        _keep(account | {"seconds": round(time.monotonic() - began, 1)})


class _Late(Wrapped):
    """A journal whose owner hears of a park only when somebody has spoken since."""

    def append(self, stream: StreamId, *given: Any, park: Park | None = None, **more: Any) -> asyncio.Future[Any]:
        answer = self.inner.append(stream, *given, park=park, **more)
        if park is None or park.state != "waiting":
            return answer
        heard: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.speaking = asyncio.create_task(self._speak(stream, answer, heard))
        return heard

    async def _speak(self, stream: StreamId, answer: asyncio.Future[Any], heard: asyncio.Future[Any]) -> None:
        head = await answer
        await Speaking(self.inner, stream).answer("t", "yes")
        heard.set_result(head)


class _Later(_Late):
    """The same, and the hint comes when the session is parked already."""

    def listen(self, stream: StreamId, hint: Callable[[], None], *, mail: bool = False) -> Callable[[], None]:
        loop = asyncio.get_running_loop()

        def later() -> None:
            loop.call_later(0.05, hint)

        return self.inner.listen(stream, later, mail=mail)


class _Beaten(_Late):
    """A journal whose owner renews its leases between a park and the word of it."""

    clock = FakeClock()

    def __init__(self, inner: Journal) -> None:
        super().__init__(inner)
        self._renewed = asyncio.Event()

    async def _speak(self, stream: StreamId, answer: asyncio.Future[Any], heard: asyncio.Future[Any]) -> None:
        head = await answer
        await self.clock.advance(LEASE_SECONDS / 3)
        await self._renewed.wait()
        heard.set_result(head)
        await Speaking(self.inner, stream).answer("t", "yes")

    async def renew(self, leases: Sequence[tuple[StreamId, int]], ttl: int) -> set[StreamId]:
        lost = await self.inner.renew(leases, ttl)
        if lost:
            self._renewed.set()
        return lost


@pytest.mark.requirement("engine:no-lost-wake-up")
@pytest.mark.parametrize("store", ["memory:", "sqlite"])
async def test_a_lease_that_is_renewed_as_its_session_parks_does_not_end_the_waiting(
    tmp_path: Path, store: str
) -> None:
    url = store if store == "memory:" else f"sqlite:///{tmp_path}/s.db"
    turns = [Turn(calls=[Call("ask", {"token": "t"})]), "done"]
    async with scene(turns, url=url, wrap=_Beaten, clock=_Beaten.clock) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        assert (await soon(run.result())).output == "done"


@pytest.mark.requirement("engine:no-lost-wake-up")
@pytest.mark.parametrize("store", ["memory:", "sqlite"])
@pytest.mark.parametrize("late", [_Late, _Later])
async def test_whoever_speaks_between_a_park_and_the_word_of_it_is_heard(
    tmp_path: Path, store: str, late: type[_Late]
) -> None:
    url = store if store == "memory:" else f"sqlite:///{tmp_path}/s.db"
    turns = [Turn(calls=[Call("ask", {"token": "t"})]), "done"]
    async with scene(turns, url=url, wrap=late) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        assert (await soon(run.result())).output == "done"


def _keep(account: Mapping[str, object]) -> None:
    results = Path("campaign-results")
    results.mkdir(exist_ok=True)
    (results / "lost-wakeups.json").write_text(json.dumps(account, indent=2))


async def _hunt(
    url: str, names: list[str], seed: int, child: asyncio.subprocess.Process, spoken: Counter[str]
) -> list[str]:
    assert child.stdout is not None
    async with Runtime.open(url) as runtime:
        hunters: list[asyncio.Task[None]] = []
        ended: list[str] = []
        while len(ended) < len(names):
            line = (await asyncio.wait_for(child.stdout.readline(), STUCK)).decode().strip()
            if line.startswith("begins "):
                speaker = _Speaker(runtime, seed + len(hunters), spoken)
                hunters.append(asyncio.create_task(speaker.speak(line.removeprefix("begins "), STEPS)))
            else:
                ended.append(line)
        await asyncio.gather(*hunters)
    return ended
