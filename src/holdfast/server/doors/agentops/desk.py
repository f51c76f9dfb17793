"""What this door has at hand between requests: its agent, which conversation is the one that is going on, and words
that wait for the next prompt.

The conversation is the session that is named after the agent. When it is cleared, that session has ended for good, and
the conversation goes on in `<name>.2`, `<name>.3` and so on: the first that has not ended. Whoever starts the process
anew finds the same one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, final

import msgspec

from holdfast.errors import HoldfastError
from holdfast.runtime.bound import BoundAgent
from holdfast.runtime.runtime import Runtime
from holdfast.server.doors.agentops.remembering import Memories
from holdfast.server.parts import Service
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Call
from holdfast.types import NO_CONTROL, Control, TenantId

__all__ = ("Daemon", "Desk", "desk_of", "session_name")

_STEERS = 100
"""Words of one session that wait for its next prompt."""
_WAITING = 1_000
"""Sessions for which words wait, or whose last prompts are known."""


class Daemon(msgspec.Struct, frozen=True, kw_only=True):
    """The agent behind the door, as whoever starts the process set it up: a part of the service."""

    name: str
    """What the agent is called: its conversation, and who speaks in the events."""
    agent: BoundAgent
    titles: BoundAgent | None = None
    """Finds titles for sessions; without it, their first words are."""
    extracts: BoundAgent | None = None
    """Says what is worth keeping of a conversation."""
    workspace: str = ""
    """The folder its tools act in; empty for one of each session's own."""
    control: Control = NO_CONTROL
    fraction: float = 0.75
    """What of the model's window a conversation may take."""


def session_name(name: str, number: int) -> str:
    """Returns what the session of a conversation is called that was cleared so many times less one."""
    return name if number == 1 else f"{name}.{number}"


@final
class Desk:
    """One for each service."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.memories = Memories()
        self._numbers: dict[TenantId, int] = {}
        """Conversations below are known to have ended."""
        self._steers: dict[tuple[TenantId, str], list[str]] = {}
        self.last: dict[tuple[TenantId, str], str] = {}
        """The keys of the prompts that sessions were given last."""
        self.windows: dict[TenantId, int] = {}
        """How many messages requests carry, for tenants that said so; the agent's own number without."""
        self._tasks: set[asyncio.Task[Any]] = set()

    async def current(self, runtime: Runtime, tenant: TenantId, *, least: int = 1) -> tuple[str, int]:
        """Returns the session of the conversation, and its number; there may be none of that name yet."""
        number = max(least, self._numbers.get(tenant, 1))
        while (glance := await runtime.glance(session_name(self.daemon.name, number))) and glance.state == "ended":
            number += 1
        self._numbers[tenant] = number
        return session_name(self.daemon.name, number), number

    def keep(self, tenant: TenantId, session: str, words: str) -> None:
        """Keeps words for the next prompt of a session.

        Raises:
            Refused: there are too many already.
        """
        held = self._steers.setdefault((tenant, session), [])
        if len(held) >= _STEERS or len(self._steers) > _WAITING:
            if not held:
                del self._steers[tenant, session]
            raise Refused(429, "too_many", "too many messages wait for the next prompt: send that first")
        held.append(words)

    def take(self, tenant: TenantId, session: str) -> list[str]:
        """Returns what was kept for a session, and keeps it no longer."""
        return self._steers.pop((tenant, session), [])

    def give_back(self, tenant: TenantId, session: str, words: list[str]) -> None:
        """Keeps what was taken for a prompt that was refused."""
        if words:
            self._steers[tenant, session] = words + self._steers.get((tenant, session), [])

    def accepted(self, tenant: TenantId, session: str, key: str) -> None:
        """Takes note of the prompt that a session was given last."""
        self.last.pop((tenant, session), None)
        self.last[tenant, session] = key
        if len(self.last) > _WAITING:
            del self.last[next(iter(self.last))]

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Does something that nobody waits for; that it could not be done is nobody's business."""
        task = asyncio.create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(HoldfastError):  # the session is over, or another process has it: nothing is to be stopped
        await work


def desk_of(call: Call[Any, Any, Any]) -> Desk:
    """Returns the desk of a call's service."""
    service: Service = call.service
    found: Desk | None = service.parts.get(Desk)
    if found is None:
        found = service.parts[Desk] = Desk(service.parts[Daemon])
    return found
