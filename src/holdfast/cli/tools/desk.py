"""One call through the gateway of runs, without a run: nothing is logged, so nothing goes on after a crash, and files
are not saved before they change.

All else is as in a run: arguments are mended and checked, a policy decides, the mode asks, commands run in the sandbox,
secrets are resolved, and the result is bounded and without them. A call that another one makes passes here, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import final

import msgspec

from holdfast.flow.ids import new_key
from holdfast.runtime.configuring.equipment import secrets_of
from holdfast.runtime.sandboxes import sandboxes_of
from holdfast.safety.redacting import Redactor
from holdfast.sandbox.policy.profile import Profile
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.tools.authorising.authority import authority_of
from holdfast.tools.authorising.policy import Policies
from holdfast.tools.binding import Registry, Tool
from holdfast.tools.gateway import Gateway
from holdfast.tools.keeping.kept import Kept
from holdfast.tools.keeping.memory import MemoryKeyValues
from holdfast.tools.permitting import Rules
from holdfast.tools.results import Refused
from holdfast.types import (
    AgentSpec,
    CallId,
    EventId,
    Mode,
    TenantId,
    ToolCall,
    ToolError,
    ToolResult,
    Wait,
    stream_id,
)

__all__ = ("Ask", "Desk", "Terms", "open_desk")

Ask = Callable[[ToolCall, Wait], Awaitable[bool]]
"""Asks a person whether a call may be made."""
_TENANT = TenantId("local")
_DEEP = 8
"""Calls below calls, as in a run: more is a tool that calls itself."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """As what a call is made."""

    folder: Path
    mode: Mode
    sandbox: Profile
    store: str
    """Of the person at this machine: no command sees it, and its runs keep out of the folder meanwhile."""
    policy: Policies = None
    agent: str = "agent"
    roles: tuple[str, ...] = ()


@asynccontextmanager
async def open_desk(tool: Tool, terms: Terms, ask: Ask | None) -> AsyncGenerator[Desk]:
    """Gives what makes calls of a tool; without somebody to `ask`, what would be asked about is denied."""
    blobs = MemoryBlobStore()
    places = sandboxes_of(terms.store, blobs, terms.sandbox)
    try:
        if tool.tier == "inside":
            await places.ready()
        agent = AgentSpec(model="none/none", name=terms.agent, tools=(tool.spec,), roles=terms.roles)
        stream = stream_id(_TENANT, f"call-{new_key()[:16]}")
        registry = Registry((tool,))
        specs = [each.spec for each in registry.values()]
        kept = Kept(
            values=MemoryKeyValues(), blobs=blobs, tenant=_TENANT, user="user", agent=terms.agent, session=stream
        )
        gateway = Gateway(
            tools=registry,
            stream=stream,
            run=EventId(new_key()),
            sandbox=places.at(_TENANT, terms.folder),
            blobs=blobs,
            agent=terms.agent,
            rules=Rules(terms.mode, unattended=ask is None),
            secrets=secrets_of(None, Redactor()),
            authority=authority_of(terms.policy, agent, specs, tenant=_TENANT, root=str(terms.folder)),
            kept=lambda: kept,
            ceiling=places.ceiling,
        )
        yield Desk(gateway, ask)
    finally:
        await places.close()


@final
class Desk:
    """Makes calls."""

    def __init__(self, gateway: Gateway, ask: Ask | None) -> None:
        self._gateway = gateway
        self._ask = ask
        self._made = 0

    async def call(self, name: str, arguments: str) -> ToolResult:
        """Returns what a call came to, also where it was refused."""
        return await self._call((), name, arguments)

    async def _call(self, above: tuple[str, ...], name: str, arguments: str, *, writes: bool = False) -> ToolResult:
        """Makes a call below those of the tools `above`, of which one `writes` files already."""
        if len(above) > _DEEP:
            text = f"Calls of calls are {_DEEP} deep at most: do the work in fewer."
            return ToolResult(text, ToolError("execution_failed", "tool_nested_too_many"))
        self._made += 1
        number = f"{self._made}/call"
        call, gateway = ToolCall(CallId(number), name, arguments), self._gateway
        admitted = gateway.admit(call, number)
        if isinstance(admitted, Wait):
            if self._ask is None or not await self._ask(call, admitted):
                text = f"Denied: the person at the terminal did not allow {name!r}."
                return ToolResult(text, ToolError("permission_denied", "tool_approval_denied", "denied"))
            admitted = gateway.admit(call, number, approved=(admitted.digest,))
        if isinstance(admitted, Refused):
            return admitted.result
        if isinstance(admitted, Wait):  # what it does changed while it was asked about
            text = f"Denied: what {name!r} would do is not what was asked about any more. Call it again."
            return ToolResult(text, ToolError("permission_denied", "tool_approval_denied", "denied"))
        if admitted.effect.workspace and writes:
            text = "A call that changes files itself cannot call others that do: declare it without `workspace`."
            return ToolResult(text, ToolError("execution_failed", "tool_nested_writer"))
        turn = gateway.exclusive() if admitted.effect.workspace else contextlib.nullcontext()
        async with turn:
            below = partial(self._call, (*above, name), writes=writes or admitted.effect.workspace)
            outcome = await gateway.perform(admitted, below, has_place=name in above)
        if isinstance(outcome, Wait):
            text = f"{name!r} waits ({outcome.kind}): {outcome.prompt}\nOnly a run can wait: give the tool to an agent."
            outcome = ToolResult(text.replace(": \n", ".\n"), ToolError("execution_failed", "tool_waits"))
        return await gateway.finish(admitted, outcome)
