"""What a runtime is opened with beside its store: one value, so that each room takes what it needs of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from holdfast.errors import UsageError
from holdfast.models.access.access import Access
from holdfast.models.catalogue import Facts
from holdfast.models.routing.routes import Routes
from holdfast.runtime.delivering.hooks import Hooks
from holdfast.runtime.delivering.port import Function, Target
from holdfast.runtime.guarding.critic import Critic, Judge
from holdfast.runtime.opening import data_folder
from holdfast.safety.redacting import Redactor
from holdfast.safety.secrets.chain import Secrets
from holdfast.safety.secrets.port import Resolver
from holdfast.tools.authorising.policy import Policies, Policy
from holdfast.tools.hooks.port import ToolHooks
from holdfast.types import Price, TenantId

__all__ = ("STORE", "Equipment", "secrets_of")

STORE = "secrets.json"
"""The file of encrypted secrets, in the data folder."""


class Equipment(msgspec.Struct, frozen=True):
    """What `Runtime.open` was told.

    Raises:
        UsageError: hooks or a policy are none; says what to write.
    """

    tenant: TenantId = TenantId("local")
    user: str = "user"
    prices: Mapping[str, Price] = msgspec.field(default_factory=dict[str, Price])
    targets: Mapping[str, Target | Function] | None = None
    hooks: Hooks | None = None
    at_once: int | None = None
    critic: Critic | Judge | None = None
    routes: Routes | None = None
    access: Access | None = None
    facts: Mapping[str, Facts] | None = None
    secrets: Sequence[Resolver] | Mapping[str, str] | None = None
    policy: Policies = None

    def __post_init__(self) -> None:
        hooks: Any = self.hooks
        if hooks is not None and not isinstance(hooks, Hooks):
            raise UsageError("Runtime.open(hooks=...) takes Hooks: write hooks=Hooks(tools=ToolHooks(before=[...]))")
        tools: Any = None if hooks is None else hooks.tools
        if tools is not None and not isinstance(tools, ToolHooks):
            raise UsageError("Hooks(tools=...) takes ToolHooks: write Hooks(tools=ToolHooks(before=[...]))")
        policy: Any = self.policy
        several: list[Any] = [policy] if isinstance(policy, (str, Policy)) else list(policy or ())
        if not all(isinstance(each, Policy) for each in several):
            raise UsageError("Runtime.open(policy=...) takes a Policy: read a file with load_policy(path)")


def secrets_of(given: Sequence[Resolver] | Mapping[str, str] | None, redactor: Redactor) -> Secrets:
    """Returns what tools are authenticated with: what was given, or the encrypted store of this person and then the
    environment (source: Orloj 3.8). Nothing of it is loaded before a tool asks.
    """

    def places() -> Sequence[Resolver]:
        from holdfast.safety.secrets.environment import EnvironmentSecrets

        if given is None:
            from holdfast.safety.secrets.store import StoredSecrets

            return (StoredSecrets(data_folder() / STORE), EnvironmentSecrets())
        if isinstance(given, Mapping):
            told: Any = given
            return (EnvironmentSecrets(told),)
        return given

    return Secrets(places, redactor)
