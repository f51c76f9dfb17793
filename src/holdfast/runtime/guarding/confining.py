"""What keeps the commands of a runtime's agents in, and what they reach all the same."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.runtime.sandboxes import Sandboxes
from holdfast.sandbox.egress.settings import Service
from holdfast.sandbox.policy.openshell import Policy
from holdfast.sandbox.port import Posture

__all__ = ("Confines",)


class Confines:
    """What a runtime says, and changes, of its sandboxes."""

    _sandboxes: Sandboxes

    async def posture(self) -> Posture:
        """Returns what stands between the commands of this runtime's agents and the machine, once it was tried."""
        return await self._sandboxes.ready()

    async def allow(self, policy: Policy, services: Mapping[str, Service] | None = None) -> Posture:
        """Decides about the network of commands by another policy from now on, and returns the posture then.

        What is going on obeys it, too: a connection that is no longer allowed ends at once. A command that began where
        there was no network at all goes on without; the next one has it. Only the network may differ from the policy
        the runtime was opened with. `services` are reached by name (`models.local`), by any program and whatever the
        policy says, at the path of a unix socket or by a function that connects; those of an earlier call are no more.

        Raises:
            UsageError: more than the network differs, or the name of a service is no name of a host.
            SandboxError: the sandbox lets nothing out, or a layer that is required would be lost. All goes on as
                before.
        """
        return await self._sandboxes.update(policy, services or {})
