"""What a profile asks of its backend beyond running commands, and what of that a backend cannot do.

A layer (`sandbox/port.py`) is what stands between a command and the machine, found out by trying; an ability is what
can be done with a sandbox at all. What is asked for and cannot be done is refused by name when a backend is opened,
never left out silently; that goes also for options of the policy that no backend heeds.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.errors import IsolationMissing
from holdfast.sandbox.policy.heeding import TLS_UNREAD, UNHEEDED, sealed_in_tls, unheeded
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.port import ABILITIES

__all__ = ("asked", "can_read_nothing", "refuse_more", "refuse_unheeded")


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
    yield from dict.fromkeys(each.ability for each in unheeded(profile.policy))


def refuse_unheeded(profile: Profile) -> None:
    """Does nothing where some backend heeds all that a policy says.

    Raises:
        IsolationMissing: none does; the message names each option, and what to do about it.
    """
    if lacking := [f"{each!r} ({UNHEEDED[each]})" for each in asked(profile) if each in UNHEEDED]:
        raise IsolationMissing(f"no sandbox does what the policy asks for: {', '.join(lacking)}")


def can_read_nothing(profile: Profile) -> bool:
    """Returns whether the policy, or a secret, takes TLS to be ended by us, and what does that is not installed."""
    if not (profile.policy.network_policies and (profile.env.secrets or any(sealed_in_tls(profile.policy)))):
        return False
    from holdfast.sandbox.egress.certificates import is_installed  # noqa: PLC0415 - few profiles let anything out

    return not is_installed()


def refuse_more(name: str, can: frozenset[str], profile: Profile) -> None:
    """Does nothing where a backend can do all that a profile asks for.

    Raises:
        IsolationMissing: it cannot; the message names each ability, or what has to be installed.
    """
    refuse_unheeded(profile)
    if lacking := [f"{each!r} ({ABILITIES[each]})" for each in asked(profile) if each not in can]:
        raise IsolationMissing(
            f"the sandbox {name!r} cannot do what the profile asks for: {', '.join(lacking)}; take native, or ask less"
        )
    if can_read_nothing(profile):
        raise IsolationMissing(f"by the policy or for a secret {TLS_UNREAD}")
