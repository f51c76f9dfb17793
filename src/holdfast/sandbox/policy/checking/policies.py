"""What is wrong with a policy, or with a profile around it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from holdfast.sandbox.policy.checking.endpoints import Fault, endpoint_faults, host_fault
from holdfast.sandbox.policy.matching import canonical_host, compile_glob, fault_of
from holdfast.sandbox.policy.openshell import FilesystemPolicy, Middleware, NetworkPolicy, Policy, Process
from holdfast.sandbox.policy.profile import Env, Profile

__all__ = ("policy_faults", "profile_faults")

_MOST_PATHS: Final = 256
_LONGEST_PATH: Final = 4096
_MOST_MIDDLEWARES: Final = 10
_MOST_PATTERNS: Final = 32
_MOST_READY: Final = 64
_LARGEST_ID: Final = 4_294_967_294
_LAYER: Final = re.compile(r"[a-z]+(?:[.-][a-z]+)*(?:>=\d{1,4})?")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")


def policy_faults(policy: Policy) -> Iterator[Fault]:
    """Yields everything that breaks a rule of the format."""
    if policy.filesystem_policy is not None:
        yield from _files(policy.filesystem_policy)
    yield from _process(policy.process)
    for key, each in policy.network_policies.items():
        yield from _network(key, each)
    yield from _middlewares(policy)


def profile_faults(profile: Profile) -> Iterator[Fault]:
    """Yields what is wrong with a profile, apart from its policy."""
    for number, layer in enumerate(profile.require):
        if not _LAYER.fullmatch(layer):
            yield ("require", number), f"{layer!r} is no layer; write one such as netns or landlock>=4"
    for number, path in enumerate(profile.workspace.protect):
        if wrong := _protection_fault(path):
            yield ("workspace", "protect", number), f"{path[:80]!r} {wrong}"
    yield from _environment(profile.env)
    for name, value in msgspec.structs.asdict(profile.limits).items():
        if value is not None and value <= 0:
            yield ("limits", name), f"a limit of {value} lets nothing run; write more, or null for no limit"
    if not 0 <= profile.pool.ready <= _MOST_READY:
        yield ("pool", "ready"), f"{profile.pool.ready} cannot be kept ready; write a number from 0 to {_MOST_READY}"


def _environment(env: Env) -> Iterator[Fault]:
    named: list[tuple[str, tuple[str | int, ...]]] = [
        (variable, ("env", "allow", at)) for at, variable in enumerate(env.allow)
    ]
    named += [(variable, ("env", "secrets", variable)) for variable in env.secrets]
    for variable, place in named:
        if not _VARIABLE.fullmatch(variable):
            yield place, f"{variable[:80]!r} is no name of a variable; write one such as LANG"
    for variable, hosts in env.secrets.items():
        if not hosts:
            yield ("env", "secrets", variable), f"{variable!r} may go nowhere; name the hosts it is for"


def _protection_fault(path: str) -> str:
    if "*" in path:
        return "is a pattern, and only paths can be protected; write out the ones you mean"
    wrong = path.startswith("/") or ".." in path.split("/") or not path.strip("./")
    if wrong or len(path) > _LONGEST_PATH or "\0" in path:
        return "does not name something in the workspace; write it relative to it, without '..'"
    if path != (plain := posixpath.normpath(path)):  # paths are compared with it as they are written
        return f"is not how paths are compared; write {plain[:80]!r}"
    return ""


def _files(files: FilesystemPolicy) -> Iterator[Fault]:
    block = "filesystem_policy"
    total = len(files.read_only) + len(files.read_write)
    if total > _MOST_PATHS:
        yield (block,), f"it lists {total} paths, and {_MOST_PATHS} is the most; name the folders they lie in"
    for name in ("read_only", "read_write"):
        for number, path in enumerate(getattr(files, name)):
            if wrong := _path_fault(path, writable=name == "read_write"):
                yield (block, name, number), f"{path[:80]!r} {wrong}"


def _path_fault(path: str, *, writable: bool) -> str:
    if not path.startswith("/"):
        return "is not absolute; begin it with a slash"
    if "\0" in path:
        return "holds a zero byte; take it out"
    if len(path.encode("utf-8", "surrogatepass")) > _LONGEST_PATH:
        return f"is longer than {_LONGEST_PATH:,} bytes; name a folder above it"
    if ".." in path.split("/"):
        return "has '..' in it; write where it leads"
    if writable and posixpath.normpath(path).strip("/") == "":
        return "cannot be writable: that is everything; list the folders that are to be written"
    return ""


def _process(process: Process) -> Iterator[Fault]:
    for name in ("run_as_user", "run_as_group"):
        value = getattr(process, name)
        if value in ("", "sandbox"):
            continue
        if not re.fullmatch(r"[1-9]\d{0,9}", value) or int(value) > _LARGEST_ID:
            why = "is the superuser" if value in ("0", "root") else "is neither"
            yield ("process", name), f'{value[:80]!r} {why}; write "sandbox" or a number from 1 to {_LARGEST_ID}'


def _network(key: str, policy: NetworkPolicy) -> Iterator[Fault]:
    place = ("network_policies", key)
    if not key or key.startswith("_provider_"):
        yield place, f"{key!r} cannot be its key: choose another one (`_provider_` is kept for what providers bring)"
    for number, endpoint in enumerate(policy.endpoints):
        for inside, text in endpoint_faults(endpoint):
            yield (*place, "endpoints", number, *inside), text
    for number, binary in enumerate(policy.binaries):
        at = (*place, "binaries", number)
        if not binary.path:
            yield at, "a binary needs a path; write the real path of the executable"
        elif "*" in binary.path and (wrong := fault_of(binary.path, "/")):
            yield at, f"{binary.path[:80]!r}: {wrong}"


def _middlewares(policy: Policy) -> Iterator[Fault]:
    block = "network_middlewares"
    if len(policy.network_middlewares) > _MOST_MIDDLEWARES:
        found = len(policy.network_middlewares)
        yield (block,), f"there are {found} middlewares, and {_MOST_MIDDLEWARES} is the most; take some away"
    orders: dict[int, str] = {}
    for key, each in policy.network_middlewares.items():
        first = orders.setdefault(each.order, key)
        if first != key:
            yield (block, key), f"its order {each.order} is that of {first!r}, too; give each another number"
        if not each.middleware:
            yield (block, key), "it names no `middleware`; write which one it is"
        for inside, text in _selected(each):
            yield (block, key, *inside), text
        if each.on_error != "fail_open" and (host := _unreadable(each, policy)):
            text = f"it must not fail, but at {host!r} nothing can be read (`tls: skip`); exclude that host"
            yield (block, key), text


def _selected(middleware: Middleware) -> Iterator[Fault]:
    selector = middleware.endpoints
    if selector is None or not selector.include:
        yield ("endpoints",) if selector else (), "it is for no host; list some under `endpoints.include`"
        return
    if len(selector.include) + len(selector.exclude) > _MOST_PATTERNS:
        yield ("endpoints",), f"it has more than {_MOST_PATTERNS} patterns; use wider ones"
    for name in ("include", "exclude"):
        for number, pattern in enumerate(getattr(selector, name)):
            if wrong := host_fault(pattern):
                yield ("endpoints", name, number), f"{pattern[:80]!r} {wrong}"


def _unreadable(middleware: Middleware, policy: Policy) -> str:
    """A host this middleware is for, whose connections nobody looks into."""
    selector = middleware.endpoints
    if selector is None or any(host_fault(each) for each in (*selector.include, *selector.exclude)):
        return ""
    for each in policy.network_policies.values():
        for endpoint in each.endpoints:
            if endpoint.tls != "skip" or not endpoint.host:
                continue
            inside = _covers(selector.include, endpoint.host)
            if inside and not _covers(selector.exclude, endpoint.host):
                return endpoint.host
    return ""


def _covers(patterns: tuple[str, ...], host: str) -> bool:
    if host in patterns:
        return True
    name = canonical_host(host)
    return name is not None and any(compile_glob(each.lower(), ".").fullmatch(name) for each in patterns)
