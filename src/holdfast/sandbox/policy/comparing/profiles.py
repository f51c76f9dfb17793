"""What one profile allows and another does not: what newly became reachable, and what no longer is.

Both are asked, not read: about each kind of file, host, program and request that either of them tells apart. So it does
not matter how a change is written, and a denial that was taken away shows as what it opened. What passes only because
an endpoint does not enforce counts as reachable: it is. Whatever differs and cannot be told is said to be so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Final

from holdfast.sandbox.policy.comparing.network import Network
from holdfast.sandbox.policy.comparing.rows import Comparison, Difference, Files, Setting, joined
from holdfast.sandbox.policy.explaining import WORKDIR, Touch, touched
from holdfast.sandbox.policy.openshell import Policy
from holdfast.sandbox.policy.profile import Ceiling, Profile

__all__ = ("compare",)

_APPLIED: Final = ("when-succeeded", "when-ended", "at-once")
Row = tuple[Difference, bool, bool]


def compare(before: Policy | Profile, after: Policy | Profile) -> Comparison:
    """Returns what became reachable from one policy or profile to the next, what no longer is, and what cannot be
    told; around a policy alone stands a profile that says nothing else.
    """
    old, new = (each if isinstance(each, Profile) else Profile(policy=each) for each in (before, after))
    network = Network(old.policy, new.policy)
    opened: set[Difference] = set()
    closed: set[Difference] = set()
    for each, was, will in (*_settings(old, new), *_files(old, new), *network.rows()):
        if was != will:
            (opened if will else closed).add(each)
    unsure = (*_untold(old, new), *network.unsure)
    return Comparison(joined(opened), joined(closed), unsure)


def _files(old: Profile, new: Profile) -> Iterator[Row]:
    blocks = (old.policy.filesystem, new.policy.filesystem)
    named = {path for each in blocks for path in (*each.read_only, *each.read_write)}
    workdir = WORKDIR
    while any(path == workdir or path.startswith(f"{workdir}/") for path in named):
        workdir += "-"
    protected = {f"{workdir}/{each}" for one in (old, new) for each in one.workspace.protect}
    for path, write in product(sorted({workdir, *named, *protected}), (False, True)):
        touch = Touch(path, write=write)
        shown = "the workspace" + path.removeprefix(workdir) if path.startswith(workdir) else path
        was, will = touched(old, touch, workdir).allowed, touched(new, touch, workdir).allowed
        yield Files(shown, "write" if write else "read"), was, will


def _settings(old: Profile, new: Profile) -> Iterator[Row]:
    """What the fields of a profile let pass, each as whether it did and does."""
    if "none" in (old.backend, new.backend):
        yield Setting("backend", old.backend, new.backend), old.backend == "none", new.backend == "none"
    for each in sorted({*old.require, *new.require}):
        yield _only(f"require {each}", each in old.require, each in new.require, without=True)
    for each in sorted({*old.env.allow, *new.env.allow}):
        yield _only(f"env.allow {each}", each in old.env.allow, each in new.env.allow)
    secrets = [{(name, host) for name, hosts in each.env.secrets.items() for host in hosts} for each in (old, new)]
    for name, host in sorted(secrets[0] | secrets[1]):
        yield _only(f"env.secrets {name} to {host}", (name, host) in secrets[0], (name, host) in secrets[1])
    for name in old.limits.__struct_fields__:
        was, will = getattr(old.limits, name), getattr(new.limits, name)
        if was != will:
            more = was is not None and (will is None or will > was)
            yield Setting(f"limits.{name}", _shown(was), _shown(will)), not more, more
    yield from _ordered("workspace.apply", old.workspace.apply, new.workspace.apply, _APPLIED.index)
    yield from _ordered("workspace.rollback", old.workspace.rollback, new.workspace.rollback, _is("never"))
    yield from _ordered("pool.reuse", old.pool.reuse, new.pool.reuse, _is("owner"))
    yield from _tools(old.tools, new.tools)
    landlock = old.policy.landlock.compatibility, new.policy.landlock.compatibility
    yield from _ordered("landlock", *landlock, _is("best_effort"))
    middlewares = old.policy.network_middlewares, new.policy.network_middlewares
    for key in sorted({*middlewares[0], *middlewares[1]}):
        if key not in middlewares[0] or key not in middlewares[1]:
            yield _only(f"network_middlewares {key}", key in middlewares[0], key in middlewares[1], without=True)


def _tools(old: Ceiling, new: Ceiling) -> Iterator[Row]:
    """What tools may start that are programs or containers of their own."""
    for each in sorted({*old.programs, *new.programs}):
        yield _only(f"tools.programs {each}", each in old.programs, each in new.programs)
    for each in sorted({*old.networks, *new.networks}):
        yield _only(f"tools.networks {each}", each in old.networks, each in new.networks)
    for name in ("memory", "cpus", "pids"):
        was, will = getattr(old, name), getattr(new, name)
        if was != will:
            yield Setting(f"tools.{name}", _shown(was), _shown(will)), was > will, will > was


def _only(name: str, was: bool, will: bool, *, without: bool = False) -> Row:
    """A thing that is there or not, and lets more pass where it is, or `without` it."""
    said = Setting(name, "yes" if was else "no", "yes" if will else "no")
    return said, was != without, will != without


def _ordered(name: str, was: str, will: str, loose: Callable[[str], int]) -> Iterator[Row]:
    if was != will:
        more = loose(will) > loose(was)
        yield Setting(name, was, will), not more, more


def _is(word: str) -> Callable[[str], int]:
    return lambda said: int(said == word)


def _shown(limit: float | None) -> str:
    return "no limit" if limit is None else f"{limit:,}"


_TOLD: Final = frozenset(("require", "policy", "limits", "workspace", "env", "pool", "backend", "tools"))
_TOLD_OF_POLICY: Final = frozenset(
    ("version", "filesystem_policy", "landlock", "network_policies", "network_middlewares", "process")
)


def _untold(old: Profile, new: Profile) -> Iterator[str]:
    """What differs and is neither more nor less."""
    if old.backend != new.backend and "none" not in (old.backend, new.backend):
        said = f"backend: {old.backend} -> {new.backend}"
        yield f"{said}: what each keeps in here, `holdfast sandbox probe` says"
    if old.policy.process != new.policy.process:
        yield "process: commands run as somebody else"
    middlewares = old.policy.network_middlewares, new.policy.network_middlewares
    for key in sorted({*middlewares[0]} & {*middlewares[1]}):
        if middlewares[0][key] != middlewares[1][key]:
            yield f"network_middlewares {key}: what it does with requests"
    for kind, told in ((Profile, _TOLD), (Policy, _TOLD_OF_POLICY)):
        one, two = (old, new) if kind is Profile else (old.policy, new.policy)
        for name in sorted(set(kind.__struct_fields__) - told):
            if getattr(one, name) != getattr(two, name):
                yield f"{name}: it differs, and nothing more is known of it"
