"""`holdfast serve` is killed under load, again and again, and its clients come back: they miss and repeat nothing."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.surfaces.commands import BOUND, Shell
from tests.surfaces.listening import Listener
from tests.surfaces.test_server_frame_serve import AGENTS, Served, served

from holdfast.testing import Call, ScriptedModelServer, ScriptRequest, Turn

SESSIONS, STEPS, KILLS = 24, 6, 3
ANSWER = "".join(f"word {number} " for number in range(60))


class Model:
    """Calls a tool a few times, then says something long, piece by piece; so far only as each life of the server lets
    it, so that however slow the machine is no run is over before the last.
    """

    def __init__(self) -> None:
        self.lives = [asyncio.Event() for _ in range(KILLS + 1)]

    async def __call__(self, request: ScriptRequest) -> Turn:
        step = request.tool_results % (STEPS + 1)
        await self.lives[step * KILLS // STEPS].wait()
        await asyncio.sleep(random.uniform(0, 0.05))  # a model takes its time
        if step < STEPS:
            return Turn(text=ANSWER, chunk=7, calls=[Call(name="add", arguments={"a": step, "b": 1})])
        return Turn(text=ANSWER, chunk=7)


@dataclass
class Client:
    """Follows one session, over as many servers as it takes."""

    session: str
    ids: list[int] = field(default_factory=list[int])
    text: str = ""
    wrong: list[str] = field(default_factory=list[str])

    async def follow(self, url: str) -> None:
        """Follows it until the stream ends, or is cut off."""
        headers = {"last-event-id": str(self.ids[-1])} if self.ids else {}
        with suppress(aiohttp.ClientError, TimeoutError):
            async with (
                aiohttp.ClientSession(url) as http,
                http.get(f"/v1/sessions/{self.session}/events?until=idle", headers=headers) as answer,
            ):
                async for each in Listener(answer):
                    self.hear(each.event, each.data, each.id)

    def hear(self, event: str, data: Any, number: int | None) -> None:
        if number is not None:
            self.ids.append(number)
        if event == "reset":
            self.text = ""
        elif event == "text.delta":
            self.text += data["text"]
        elif event == "model.finished":
            said = "".join(part.get("text", "") for part in data["data"]["message"]["parts"])
            if self.text not in ("", said):
                self.wrong.append(f"{self.text!r} was heard of {said!r}")
            self.text = ""


@pytest.mark.requirement("server_load:killed", "server_sessions:killed")
async def test_killed_under_load_and_started_again_its_clients_miss_and_repeat_no_event(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(AGENTS)
    clients = [Client(f"s{number}") for number in range(SESSIONS)]
    model = Model()
    async with asyncio.timeout(3 * BOUND), ScriptedModelServer(model) as server:
        sh = Shell(tmp_path, server)
        for life in range(KILLS + 1):
            model.lives[life].set()
            await asyncio.to_thread(_live, sh, clients, asyncio.get_running_loop(), life)
    for client in clients:
        assert client.wrong == []
        assert client.ids == list(range(1, len(client.ids) + 1)), client.session


def _live(sh: Shell, clients: list[Client], loop: asyncio.AbstractEventLoop, life: int) -> None:
    """One server from its start to its kill; the last one is let go on to the end."""
    with served(sh, "mine:helper") as server:
        if not life:
            for client in clients:
                server.ask("POST", "/v1/sessions", {"name": client.session, "prompt": {"text": "Go.", "key": "k"}})
        asyncio.run_coroutine_threadsafe(_listen(server, clients, life), loop).result()
        if life == KILLS:
            for client in clients:
                _check(server, client)
            server.end()


async def _listen(server: Served, clients: list[Client], life: int) -> None:
    """Follows all sessions; kills the server when a part of what is to come was heard."""
    begun = sum(len(client.ids) for client in clients)
    following = [asyncio.create_task(client.follow(server.told["url"])) for client in clients]
    if life < KILLS:
        while sum(len(client.ids) for client in clients) < begun + 3 * SESSIONS:
            assert not all(each.done() for each in following), "all is over before the kill"
            await asyncio.sleep(0.001)
        server.process.kill()
    await asyncio.wait(following)


def _check(server: Served, client: Client) -> None:
    """Sees that the log is what the client heard, and that its run went on to its end, as one."""
    log = server.ask("GET", f"/v1/sessions/{client.session}/events?limit=1000", headers={"accept": "application/json"})
    kinds = [each["type"] for each in log["events"]]
    assert [each["seq"] for each in log["events"]] == client.ids, client.session
    assert (kinds.count("run.started"), kinds.count("run.finished")) == (1, 1), client.session
    assert kinds.count("tool.finished") == STEPS
    assert server.ask("GET", f"/v1/sessions/{client.session}/runs/k")["status"] == "completed"
