"""What a profile asks of its backend beyond running commands, and what of that a backend cannot do.

A layer (`sandbox/port.py`) is what stands between a command and the machine, found out by trying; an ability is what
can be done with a sandbox at all. What is asked for and cannot be done is refused by name when a backend is opened,
never left out silently.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.errors import IsolationMissing
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.port import ABILITIES

__all__ = ("asked", "refuse_more")


def asked(profile: Profile) -> Iterator[str]:
    """Yields the names of the abilities a profile takes."""
    if profile.workspace.apply != "at-once":
        yield "layers"
    if profile.policy.network_policies:
        yield "network"
    if profile.env.secrets:
        yield "secrets"
    if profile.policy.landlock.compatibility == "hard_requirement":
        yield "landlock"
    if profile.pool.ready:
        yield "ready"
    if profile.limits.sandboxes is not None:
        yield "counted"


def refuse_more(name: str, can: frozenset[str], profile: Profile) -> None:
    """Does nothing where a backend can do all that a profile asks for.

    Raises:
        IsolationMissing: it cannot; the message names each ability.
    """
    if lacking := [f"{each!r} ({ABILITIES[each]})" for each in asked(profile) if each not in can]:
        raise IsolationMissing(
            f"the sandbox {name!r} cannot do what the profile asks for: {', '.join(lacking)}; take native, or ask less"
        )
