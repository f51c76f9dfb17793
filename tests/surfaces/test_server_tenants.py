"""Whatever two tenants ask, in whatever order, with names of either: no answer to one holds a byte of the other's, no
model of one is told a word of the other's, and what is one's stays as it is.

Every word of a tenant's has a canary in it: prompts, answers, files, uploads, names of keys and users, metadata. Names
that the server made up, and secrets, are looked for as well. Users of a tenant share its sessions, so two of them ask.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections import Counter
from collections.abc import Coroutine, Generator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from random import Random
from typing import Any, TypeVar

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from tests.standing import AGENTOPS_ROUTES, SERVED, Standing, peopled
from tests.ways import AGENTOPS_WAYS, WAYS, Said, Tenant, Unmade, Way, path_of

from holdfast.server.app import SOCKETS
from holdfast.server.routing.route import Route

T = TypeVar("T")
_numbers = itertools.count(1)
EXAMPLES = int(os.environ.get("HOLDFAST_TENANT_EXAMPLES", "8"))
"""`make fuzz-server` tries many more."""
STEPS = 30
OWN = frozenset(("export", "entered", "person"))
"""What is as good as a key, or is sent itself: who has it is its tenant."""
COSTLY = frozenset(("person", "entered"))
"""What takes a password, and so a second: made once."""
SHARED = frozenset(("helper", "openai", "openrouter", "any", "scripted", "meta-llama", "llama-3"))
"""Names of what belongs to everybody."""


class House:
    """A server in a thread of its own, for a machine whose steps are no coroutines."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._routes = routes
        self._up: Future[None] = Future()
        self.server: Standing
        self.client: aiohttp.ClientSession
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    @contextmanager
    def open(self) -> Generator[House]:
        """Serves while the block lasts."""
        self._thread.start()
        self._up.result(30)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(30)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Returns what comes of some work."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        try:
            jar = aiohttp.DummyCookieJar()
            async with (
                peopled(routes=self._routes, seconds=86_400) as self.server,
                # A prompt that waits for somebody keeps its connection: however many do, others are asked.
                aiohttp.ClientSession(cookie_jar=jar, connector=aiohttp.TCPConnector(limit=0)) as self.client,
            ):
                self._up.set_result(None)
                await self._over.wait()
        except BaseException as error:
            if not self._up.done():
                self._up.set_exception(error)
            raise

    async def tenant(self, name: str) -> tuple[Tenant, Tenant]:
        """Returns two users of a tenant."""
        canary = f"{name}canary"
        keys = [await self.server.key(name, role, user=f"{name}-{role}") for role in ("admin", "writer")]
        first, second = (Tenant(self.server, self.client, name, key, canary) for key in keys)
        return first, second

    async def state(self, name: str) -> Any:
        """Returns all there is of a tenant, once nothing of it is under way."""
        async with asyncio.timeout(10):
            before = None
            while (now := await self._state(name)) != before or b'"running"' in now:
                before = now
                await asyncio.sleep(0.005)
        return before

    async def _state(self, name: str) -> bytes:
        runtime, who = self.server.scene.runtime.acting_for(tenant=name), self.server.who
        sessions = (await runtime.sessions(limit=200)).sessions
        keys = (await who.keys.listed(name, "", 1000))[0]  # type: ignore[arg-type]
        users = (await who.users.listed(name, "", 1000))[0]  # type: ignore[arg-type]
        waits, late = await runtime.waiting(), await runtime.undelivered()
        return msgspec.json.encode([sessions, keys, users, waits, late], enc_hook=str)


class Two(RuleBasedStateMachine):
    """Two tenants of one server."""

    house: House
    ways: Mapping[tuple[str, str], Way]
    routes: tuple[Route, ...]
    asked: Counter[tuple[bool, int]]
    """How often with names of the other, and how it was answered."""

    def __init__(self) -> None:
        super().__init__()
        number = next(_numbers)
        names = [f"t{number}{letter}" for letter in "xy"]
        self.people = [self.house.do(self.house.tenant(name)) for name in names]
        self.things: list[dict[str, list[dict[str, str]]]] = [{}, {}]
        self.secrets: list[set[str]] = [{each.canary for each in both} for both in self.people]
        self.naming = [each for each in self.routes if "{" in each.path or self._names(each)]
        self.heard = len(self.house.server.scene.server.requests)
        for mine, (admin, _) in zip(self.secrets, self.people, strict=True):
            if self.ways is WAYS:
                mine.update(self.house.do(admin.ask("GET", "/v1/webhook-secrets")).json()["secrets"])

    def _names(self, route: Route) -> bool:
        """Whether its query or body names what was made."""
        way = self.ways[route.method, route.path]
        return bool(way.needs) and (bool(way.query) or way.body is not None)

    def thing(self, chance: Random, owner: int, kind: str) -> dict[str, str] | None:
        """Returns the names of something of that kind that somebody has; None where it cannot be made now."""
        known = self.things[owner].setdefault(kind, [])
        if known and (kind in COSTLY or chance.randrange(3)):
            return chance.choice(known)
        who = self.people[owner][0 if kind in ("apikey", *COSTLY) else chance.randrange(2)]
        try:
            made = self.house.do(who.make(kind))
        except Unmade as unmade:
            self.check(owner, unmade.args[0], {})
            return None
        known.append(made)
        self.secrets[owner].update(text for text in made.values() if len(text) >= 8 and text not in SHARED)
        return made

    @rule(mine=st.integers(0, 1), foreign=st.sampled_from((False, True, True)), seed=st.integers(0, 2**32))
    def ask(self, mine: int, foreign: bool, seed: int) -> None:
        """Somebody asks a route, about something of their own or of the other's."""
        chance = Random(seed)  # what is there to choose from depends on the server, and no strategy may
        route = chance.choice(self.naming if foreign else self.routes)
        way, whose = self.ways[route.method, route.path], 1 - mine if foreign else mine
        if whose != mine and way.needs in OWN:
            whose = mine
        names = self.thing(chance, whose, way.needs)
        if names is None or route.path.endswith("/setup"):
            return
        if whose != mine and chance.randrange(2) and (own := self.things[mine].get(way.needs)):
            some = chance.choice(own)  # some of mine, some of theirs
            names = {name: chance.choice((text, some.get(name, text))) for name, text in names.items()}
        other = self.people[1 - mine][0].name
        untouched = self.house.do(self.house.state(other))
        said = self.house.do(self._said(chance, self.people[mine], route, names, way))
        self.check(mine, said, names)
        assert said.status < 500, (route.method, route.path, said)
        assert self.house.do(self.house.state(other)) == untouched, (route.path, names)
        self.asked[whose != mine, said.status // 100] += 1

    async def _said(
        self, chance: Random, both: tuple[Tenant, Tenant], route: Route, names: Mapping[str, str], way: Way
    ) -> Said:
        who = both[chance.choice((0, 0, 1))]
        fitting = [each for each in SOCKETS if way.needs == "session" and self.ways is WAYS]
        if fitting and not chance.randrange(3):
            return await self._listen(who, path_of(chance.choice(fitting).as_route(), names))
        return await who.send(route, names, way)

    async def _listen(self, who: Tenant, path: str) -> Said:
        headers = {"authorization": f"Bearer {who.key}"}
        try:
            async with self.house.client.ws_connect(f"{who.server.url}{path}?until=idle", headers=headers) as opened:
                async with asyncio.timeout(0.3):
                    return Said(200, b"".join([each.data.encode() async for each in opened]), ())
        except aiohttp.WSServerHandshakeError as refused:
            return Said(refused.status, refused.message.encode(), tuple((refused.headers or {}).items()))
        except TimeoutError:  # the session waits for somebody
            return Said(200, b"", ())

    def check(self, mine: int, said: Said, sent: Mapping[str, str]) -> None:
        """Fails where an answer to one holds anything of the other's that was not in the question."""
        whole = said.whole
        for text in sorted(sent.values(), key=len, reverse=True):
            whole = whole.replace(text.encode(), b"<name>")
        for secret in self.secrets[1 - mine]:
            assert secret.encode() not in whole, (secret, said)

    def teardown(self) -> None:
        """No model was told words of both."""
        requests = self.house.server.scene.server.requests
        canaries = [both[0].canary.encode() for both in self.people]
        for each in requests[self.heard :]:
            assert not all(canary in each.body for canary in canaries), each.body


@pytest.mark.requirement("server_frame:tenancy", "control:tenant-isolation")
@pytest.mark.parametrize("door", ["serve", "daemon"])
def test_no_sequence_of_requests_of_one_tenant_returns_or_changes_anything_of_another(door: str) -> None:
    routes, ways = (SERVED, WAYS) if door == "serve" else (AGENTOPS_ROUTES, AGENTOPS_WAYS)
    with House(tuple(routes)).open() as house:
        asked: Counter[tuple[bool, int]] = Counter()
        machine = type("Asking", (Two,), {"house": house, "ways": ways, "routes": tuple(routes), "asked": asked})
        told = settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large),
            phases=(Phase.generate,),  # each example has tenants of its own: a second run of one is another
            database=None,
        )
        run_state_machine_as_test(machine, settings=told)
    assert asked[False, 2] > EXAMPLES and asked[True, 4] > EXAMPLES  # there was something to be had, and to be refused
