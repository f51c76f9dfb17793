"""A whole server as `holdfast serve` and `holdfast daemon` run it, with keys, tenants and figures, and a scripted model
behind it: what is fuzzed, and what is asked by people of several tenants at once.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from argon2 import PasswordHasher
from tests.loopback import Request, Server, answer
from tests.loopback import serving as endpoint
from tests.running import Scene, scene

from holdfast import Agent, tool
from holdfast.errors import DeliveryRefused
from holdfast.flow.clock import Clock, SystemClock, Timer
from holdfast.runtime.delivering.port import Delivery
from holdfast.server.access.buckets import Buckets
from holdfast.server.access.keys.key import Wish
from holdfast.server.access.settings import AccessSettings
from holdfast.server.app import ROUTES, make_app
from holdfast.server.doors import description
from holdfast.server.doors.agentops.desk import Daemon
from holdfast.server.doors.agentops.routes import ROUTES as AGENTOPS
from holdfast.server.governing.opening import Governed, governed
from holdfast.server.listening.caps import Caps
from holdfast.server.listening.listener import Listener
from holdfast.server.listening.proxies import Proxies
from holdfast.server.listening.sockets import Place
from holdfast.server.observing.figures import Figures
from holdfast.server.observing.logging import Several
from holdfast.server.parts import Bounds, Observer, Service
from holdfast.server.routing.route import Route
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import Script, ScriptRequest
from holdfast.tools.authorising.policy import OperationRule, Policy, ToolPermission
from holdfast.tools.elsewhere.declaring import remote
from holdfast.tools.transports.callback import Callback
from holdfast.types import TenantId

__all__ = (
    "ADMIN",
    "AGENTOPS_ROUTES",
    "MODEL",
    "PASSWORD",
    "SERVED",
    "SETUP",
    "Standing",
    "helper",
    "peopled",
    "replies",
    "standing",
)

ADMIN = "listed-token-that-nobody-can-revoke"
"""Of an admin of the server's own tenant. It stands in a list: no request takes it away."""
SETUP = "the-set-up-token"
PASSWORD = "correct horse battery"
SERVED: tuple[Route, ...] = ROUTES
AGENTOPS_ROUTES: tuple[Route, ...] = (*AGENTOPS, *description.ROUTES)
"""The door with a description of itself, which `holdfast daemon` has not."""
MODEL = "openai/scripted"


@dataclass
class Standing:
    """A server that is up."""

    url: str
    service: Service
    who: Governed
    scene: Scene
    unforeseen: _Unforeseen
    asking: list[asyncio.Future[Any]]
    """Requests that are answered later, or never; they are over with the server."""

    async def key(self, tenant: str = "local", role: Any = "admin", **more: Any) -> str:
        """Returns a new key."""
        wish = Wish(tenant=TenantId(tenant), user=more.pop("user", "ada"), role=role, **more)
        _, text = await self.who.keys.create(wish)
        self.who.access.closes()
        return text


class _Unforeseen(Observer):
    """Keeps the errors that nobody foresaw."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def broken(self, request_id: str, error: Exception) -> None:
        self.errors.append(f"{request_id}: {error!r}")


class _Hurrying(Clock):
    """A minute goes by whenever somebody looks: no bucket is ever empty."""

    def __init__(self) -> None:
        self._real, self._ahead = SystemClock(), 0.0

    def now(self) -> int:
        return self._real.now()

    def monotonic(self) -> float:
        self._ahead += 60
        return self._real.monotonic() + self._ahead

    async def sleep(self, seconds: float) -> None:
        await self._real.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self._real.call_later(seconds, callback)


GATED = Policy(
    permissions=(ToolPermission(tool="sign", operations=(OperationRule(verdict="approval_required"),)),),
)


@tool(effect="none")
def sign(what: str) -> str:
    "Signs something, for which somebody has to allow it."
    return f"signed {what}"


@tool(effect="unsafe")
def pay(to: str, amount: int) -> str:
    "Pays somebody."
    return f"paid {amount} to {to}"


def helper() -> Agent:
    """Returns an agent that writes files, pays, signs, for which somebody has to allow it, and asks people."""
    return Agent(MODEL, name="helper", instructions="You help.", tools=[pay, sign, "write", "read", "question"])


def replies(request: ScriptRequest) -> Turn:
    """Says something that follows from what it was told: words, thoughts, or calls."""
    if request.tool_results and request.last_result:
        return Turn(text=f"Done: {request.last_result[:60]}")
    if "please sign" in request.last_user_text and "sign" in request.tools:
        return Turn(calls=[Call("sign", {"what": request.last_user_text[:100]})])
    if "ask me" in request.last_user_text and "question" in request.tools:
        return Turn(calls=[Call("question", {"questions": [{"question": request.last_user_text[:100]}]})])
    if "the weather" in request.last_user_text and "weather" in request.tools:
        return Turn(calls=[Call("weather", {"city": request.last_user_text[:100]})])
    kind = zlib.crc32(request.last_user_text.encode("utf-8", "replace")) % 8
    if kind == 0 and "pay" in request.tools:
        return Turn(calls=[Call("pay", {"to": "ann", "amount": 5})])
    if kind == 1 and "write" in request.tools:
        return Turn(calls=[Call("write", {"path": "note.txt", "content": f"{request.last_user_text[:200]}\n"})])
    if kind == 2:
        return Turn(thinking="Let me think.", text="I thought.")
    return Turn(text=f"You said: {request.last_user_text[:200]}")


@asynccontextmanager
async def standing(
    routes: Sequence[Route] = SERVED,
    script: Script | None = None,
    *,
    agents: Mapping[str, Agent[Any]] | None = None,
    settings: AccessSettings | None = None,
    clock: Clock | None = None,
    url: str = "memory:",
    seconds: float = 60,
    hurried: bool = True,
    **more: Any,
) -> AsyncGenerator[Standing]:
    """Opens a server on a free port of loopback; `hurried` lets strangers try as often as they like, and fast."""
    made = helper()
    named: Mapping[str, Agent[Any]] = {"helper": made} if agents is None else agents
    given = settings or AccessSettings(
        required=True, setup_token=SETUP, tokens=f"fuzz:{ADMIN}:admin", strangers=None if hurried else 20.0
    )
    clock = clock or SystemClock()
    async with (
        scene(script or replies, url=url, clock=clock, seconds=seconds, policy=GATED, **more) as s,
        governed(s.runtime, clock, given) as opened,
    ):
        who = opened
        if hurried:  # a password takes a second of a busy machine, and is tried elsewhere
            who.passwords._hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
            who = msgspec.structs.replace(opened, attempts=Buckets(_Hurrying()))
            who.access._failures = Buckets(_Hurrying())
        figures, unforeseen = Figures(s.runtime), _Unforeseen()
        daemon = Daemon(name="helper", agent=made)
        service = Service(
            runtime=s.runtime,
            agents=named,
            access=who.access,
            clock=clock,
            bounds=Bounds(grace=3),
            observer=Several(unforeseen, figures, who.audit),
            throttle=who.throttle,
            proxies=Proxies(()),
            parts={Governed: who, Figures: figures, Daemon: daemon},
        )
        app = make_app(service, routes)
        async with Listener(service, app, Place(port=0), Caps(), guarded=True) as listener:
            asking: list[asyncio.Future[Any]] = []
            try:
                yield Standing(listener.url, service, who, s, unforeseen, asking)
            finally:
                for each in asking:
                    each.cancel()
                await asyncio.gather(*asking, return_exceptions=True)


async def _refuses(delivery: Delivery) -> None:
    raise DeliveryRefused("not today")


async def _later(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
    writer.write(answer(b"", "202 Accepted"))


def _weather(city: str) -> str:
    """Tells the weather."""
    raise AssertionError("it stands elsewhere")


@asynccontextmanager
async def peopled(**more: Any) -> AsyncGenerator[Standing]:
    """Opens a server with all that routes need there to be: a target that takes nothing, and a tool that stands
    elsewhere and answers later.
    """
    async with endpoint(_later) as elsewhere:
        tool = remote(Callback(elsewhere.url, private=True, brought=True), name="weather")(_weather)
        forecaster = Agent(MODEL, name="forecaster", tools=[tool])
        agents = {"helper": helper(), "forecaster": forecaster}
        async with standing(agents=agents, targets={"team": _refuses}, **more) as server:
            yield server
