"""Tools that stand elsewhere, declared: as a function whose body is never run, or as a spec that was read.

    @remote(Http("https://weather.example/v1"), auth=Bearer(secret="weather"))
    async def weather(city: str) -> str:
        \"\"\"Tells the weather of a city.\"\"\"

What comes out is a tool like any other: the gateway, the log, who may call it and what is asked about it are the same.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, Final

import msgspec

from holdfast.errors import UndescribableTool, UsageError
from holdfast.flow.clock import SystemClock
from holdfast.net.client import HttpClient
from holdfast.sandbox.port import Posture
from holdfast.tools.access.applying import Authenticator
from holdfast.tools.access.profiles import Auth, OAuth2
from holdfast.tools.binding import Tool
from holdfast.tools.contract.messages import AuthNote
from holdfast.tools.declaring import declared, local_names
from holdfast.tools.elsewhere.attempting import Attempts
from holdfast.tools.elsewhere.calling import Elsewhere, Standing
from holdfast.tools.elsewhere.isolating import Isolation, isolation_of, kept_apart, room_of
from holdfast.tools.tiers import Tier
from holdfast.tools.transports.cli import Cli
from holdfast.tools.transports.commands.resources import Resources
from holdfast.tools.transports.container import Container
from holdfast.tools.transports.port import MOST, Transport, reach
from holdfast.tools.transports.wasm import Wasm
from holdfast.types import Effect, Governance, Outside, ToolSpec

__all__ = ("remote", "standing_at")

_ONCE: Final = Attempts()
_LOW: Final = Governance()


def remote(  # noqa: PLR0913 - what an author may say of a tool, by name
    transport: Transport,
    *,
    auth: Auth | None = None,
    attempts: Attempts = _ONCE,
    isolation: Isolation | None = None,
    name: str | None = None,
    description: str | None = None,
    effect: Effect | Outside | None = None,
    governance: Governance | None = None,
    at_once: int | None = None,
    timeout: float | None = None,
    max_output: int | None = None,
    most: int = MOST,
) -> Callable[[Callable[..., Any]], Tool]:
    """Makes a tool of a function that says what a call takes; its body is never run.

    Args:
        transport: where calls go, and how.
        auth: what they are authenticated with; names of secrets, no values.
        attempts: how long one may take, and how often a call is tried that may be tried again.
        isolation: how it is kept apart from this machine; its kind and its risk decide where nothing is said.
        name: what the model calls it; the function's name otherwise.
        description: what the model reads; the docstring without its `Args:` otherwise.
        effect: what a call changes; one word stands for an effect outside the workspace. Without it a call that was
            interrupted is not repeated by itself, but for modules and containers, which can reach nothing.
        governance: what it says of itself to whoever decides whether it may be given, shared or called.
        at_once: how many calls of it there may be at one time in a process, of all runs together.
        timeout: seconds a call may take with all its attempts.
        max_output: characters of a result the model gets to read.
        most: bytes of an answer that are read.

    Raises:
        UndescribableTool: a parameter has no JSON Schema, or the function is none that stands for a tool elsewhere.
        UsageError: what is declared means nothing, or does not go together; says what to do.
    """
    _ensure_transport(transport)
    options = {"description": description, "timeout": timeout, "max_output": max_output, "at_once": at_once}
    names = local_names(sys._getframe(1))  # pyright: ignore[reportPrivateUsage]

    def declare(function: Callable[..., Any]) -> Tool:
        made = declared(function, name or getattr(function, "__name__", ""), names, None, options)
        if made.unbound:
            raise UndescribableTool(
                f"tool {made.spec.name!r} is a method: a tool elsewhere has no object, so leave it out"
            )
        if made.described.context is not None:
            raise UndescribableTool(
                f"tool {made.spec.name!r} takes a context, and its function is never run: leave that parameter out"
            )
        spec = msgspec.structs.replace(made.spec, governance=governance or _LOW)
        return standing_at(
            transport, spec, made.parse, auth=auth, attempts=attempts, isolation=isolation, effect=effect, most=most
        )

    return declare


def _ensure_transport(given: object) -> None:
    if isinstance(given, str):
        raise UsageError(f"remote({given!r}) does not say how it is called: write @remote(External({given!r})), say")
    if isinstance(given, type) and hasattr(given, "kind"):
        raise UsageError(f"@remote({given.__name__}) does not say where: write @remote({given.__name__}(...))")
    if not hasattr(given, "kind") or not hasattr(given, "send"):
        bare = "stands without parentheses, and " if inspect.isfunction(given) else ""
        raise UsageError(f"@remote {bare}wants to know where calls go: write @remote(External('https://...')), say")


def standing_at(
    transport: Transport,
    spec: ToolSpec,
    parse: Callable[[bytes], Any],
    *,
    auth: Auth | None = None,
    attempts: Attempts = _ONCE,
    isolation: str | None = None,
    effect: Effect | Outside | None = None,
    most: int = MOST,
) -> Tool:
    """Returns the tool that a spec describes, at the end of a transport; `parse` reads the arguments of its calls.

    Raises:
        UsageError: what is declared means nothing, or does not go together; says what to do.
    """
    name, apart = spec.name, isolation_of(spec.governance, transport.kind, isolation)
    if most < 1:
        raise UsageError(f"tool {name!r}: an answer has some bytes, so `most` counts from 1")
    placed, tier = _placed(name, transport, apart)
    told, judged = _effects(name, transport, tier, effect)
    governance = spec.governance
    if tier == "outside":  # it starts what the operator listed, and may be given away by nobody else (Orloj 3.4)
        governance = msgspec.structs.replace(governance, author="admin")
    spec = msgspec.structs.replace(spec, effect=told, governance=governance)
    standing = Standing(kind=transport.kind, isolation=apart)
    elsewhere = Elsewhere(spec, placed, attempts, _authenticator(transport, name, auth), _note(auth), most, standing)
    return Tool(spec=spec, parse=parse, run=elsewhere.run, effect=judged, tier=tier, close=elsewhere.close)


def _placed(name: str, transport: Transport, isolation: Isolation) -> tuple[Transport, Tier]:
    """Returns what makes the calls, kept apart as it has to be, and where they take place."""
    if isinstance(transport, Cli):
        room = room_of(name, isolation, image=transport.image, resources=transport.resources)
        return transport.within(room), "direct" if transport.image else "outside" if isolation == "none" else "inside"
    if isinstance(transport, Container | Wasm):
        return transport, "direct"
    return kept_apart(transport, isolation), "direct"


def _effects(
    name: str, transport: Transport, tier: Tier, given: Effect | Outside | None
) -> tuple[Effect, Callable[[Any, Posture], Effect] | None]:
    """Returns what a call changes, and what judges that of each call where it depends on the sandbox."""
    if isinstance(given, Effect):
        told = given
    elif isinstance(transport, Wasm):
        told = Effect(outside=given or "none")
    elif isinstance(transport, Container | Cli) and tier == "direct":
        wanted = transport.resources or Resources()
        told = Effect(outside=given or ("none" if wanted.network == "none" else "unsafe"))
    elif isinstance(transport, Cli):
        if given is None and tier == "inside":
            return Effect(workspace=True), _as_kept_in
        told = Effect(workspace=True, outside=given or "unsafe")
    else:
        told = Effect(outside=given or "unsafe", sends=True)
    if told.outside == "checkable":
        raise UsageError(f"tool {name!r} stands elsewhere, and nobody can ask it what happened: say keyed or unsafe")
    return told, None


def _as_kept_in(_: Any, posture: Posture) -> Effect:
    """A program reaches whatever the sandbox of the run does not keep it from."""
    return Effect(workspace=True, outside="none" if posture.isolated else "unsafe")


def _authenticator(transport: Transport, name: str, auth: Auth | None) -> Authenticator | None:
    if auth is None:
        return None
    if isinstance(transport, Cli | Container):
        raise UsageError(f"tool {name!r} starts a program, which is sent no header: name its secrets in env_from")
    return Authenticator(name, auth, HttpClient(reach(transport.private)), SystemClock())


def _note(auth: Auth | None) -> AuthNote | None:
    if auth is None:
        return None
    scopes = auth.scopes if isinstance(auth, OAuth2) else ()
    return AuthNote(profile=str(auth.__struct_config__.tag), secret_ref=auth.secret, scopes=scopes)
