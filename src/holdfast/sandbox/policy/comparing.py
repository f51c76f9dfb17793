"""What one policy allows and another does not: what newly became reachable, and what no longer is.

Both are asked, not read: for everything that either of them names, a witness is made (for `*.example.com` some host of
that form), and both judges decide about it. So it does not matter how a change is written, and a denial that was taken
away shows as what it opened. What passes only because an endpoint does not enforce counts as reachable: it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from itertools import product
from typing import Final

import msgspec

from holdfast.sandbox.policy.explaining import WORKDIR, Touch, explain
from holdfast.sandbox.policy.granting import Grant, Programs
from holdfast.sandbox.policy.judging import Ask, Connect, Judge
from holdfast.sandbox.policy.matching import address_in
from holdfast.sandbox.policy.openshell import Endpoint, Policy
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.policy.requesting import METHODS
from holdfast.sandbox.policy.witnessing import paths_to_ask, ways_to_ask, witnesses

__all__ = ("Comparison", "Files", "Reach", "compare", "described")

_PUBLIC: Final = "1.0.0.1"
"""An address that is nobody's in particular to the judge."""
_EVERY: Final = ("*",)


class Files(msgspec.Struct, frozen=True, order=True):
    """A path that can be read, or written."""

    path: str
    how: str
    """`read` or `write`."""


class Reach(msgspec.Struct, frozen=True, order=True):
    """Requests that pass: by whom, where to, and which."""

    binary: str
    """A path or pattern, as the policies write it."""
    host: str
    port: int
    path: str = "**"
    """Of the URL; `**` for every path that is not named, and with the method `*` for everything over a connection."""
    methods: tuple[str, ...] = _EVERY
    """Methods of HTTP, or of the protocol; `*` for all."""
    address: str = ""
    """A range its name may lead to; empty where that does not matter."""


class Comparison(msgspec.Struct, frozen=True):
    """How two policies differ in what they allow."""

    opened: tuple[Files | Reach, ...] = ()
    """What the second allows and the first did not."""
    closed: tuple[Files | Reach, ...] = ()
    """What the first allowed and the second does not."""


def compare(before: Policy, after: Policy) -> Comparison:
    """Returns what became reachable from one policy to the next, and what no longer is."""
    opened: set[Files | Reach] = set()
    closed: set[Files | Reach] = set()
    for each, was, will in (*_files(before, after), *_network(before, after)):
        if was != will:
            (opened if will else closed).add(each)
    return Comparison(_joined(opened), _joined(closed))


def described(comparison: Comparison) -> str:
    """Returns a comparison for people: a line for each difference, `+` for what was opened, `-` for what was closed."""
    lines = [f"+ {_line(each)}" for each in comparison.opened] + [f"- {_line(each)}" for each in comparison.closed]
    return "\n".join(lines) or "nothing became reachable, and nothing stopped being so"


def _line(each: Files | Reach) -> str:
    if isinstance(each, Files):
        return f"{each.how} {each.path}"
    what = "everything" if (each.methods, each.path) == (_EVERY, "**") else f"{' '.join(each.methods)} {each.path}"
    where = f"{each.host}:{each.port}" + (f" at {each.address}" if each.address else "")
    return f"{each.binary} -> {where} {what}"


def _files(before: Policy, after: Policy) -> Iterator[tuple[Files, bool, bool]]:
    old, new = Profile(policy=before), Profile(policy=after)
    blocks = (before.filesystem, after.filesystem)
    paths = {WORKDIR} | {path for each in blocks for path in (*each.read_only, *each.read_write)}
    for path, write in product(sorted(paths), (False, True)):
        touch = Touch(path, write=write)
        shown = "the workspace" if path == WORKDIR else path
        yield Files(shown, "write" if write else "read"), explain(old, touch).allowed, explain(new, touch).allowed


def _network(before: Policy, after: Policy) -> Iterator[tuple[Reach, bool, bool]]:
    old, new = Judge(before), Judge(after)
    grants = list(_grants(before)) + list(_grants(after))
    seen: set[tuple[str, str, int]] = set()
    for _, endpoint, _ in grants:
        for host, port in product(witnesses(endpoint.host or "any.host.example", "."), endpoint.every_port):
            there = [each for each in grants if port in each[1].every_port and each[0].hosts(host)]
            endpoints = [each[1] for each in there]
            for binary in {path for each in there for path in each[2]}:
                if (binary, host, port) in seen:
                    continue
                seen.add((binary, host, port))
                reach = Reach(binary, endpoint.host or "*", port)
                for program in witnesses(binary, "/"):
                    yield from _asked(old, new, reach, Connect(host, port, (program,)), endpoints)


def _grants(policy: Policy) -> Iterator[tuple[Grant, Endpoint, tuple[str, ...]]]:
    for key, each in policy.network_policies.items():
        for endpoint in each.endpoints:
            yield Grant(key, endpoint, Programs(())), endpoint, tuple(binary.path for binary in each.binaries)


def _asked(
    old: Judge, new: Judge, reach: Reach, connect: Connect, endpoints: list[Endpoint]
) -> Iterator[tuple[Reach, bool, bool]]:
    was, will = old.connect(connect), new.connect(connect)
    if was.allowed and will.allowed and address_in(connect.host) is None:
        for address, shown in _addresses(endpoints):
            row = msgspec.structs.replace(reach, address=shown)
            yield row, old.dial(connect, address).allowed, new.dial(connect, address).allowed
    if not was.inspect and not will.inspect:
        yield reach, was.allowed, will.allowed
        return
    ways = list(ways_to_ask(endpoints))
    for (shown, paths), way in product(paths_to_ask(endpoints), ways):
        row = msgspec.structs.replace(reach, path=shown, methods=(way.name,))
        for path in paths:
            ask = Ask(connect.host, connect.port, connect.binaries, way.method, path, way.query, way.calls)
            yield row, old.request(ask).allowed, new.request(ask).allowed


def _addresses(endpoints: list[Endpoint]) -> Iterator[tuple[str, str]]:
    yield _PUBLIC, "public addresses"
    for text in sorted({each for endpoint in endpoints for each in endpoint.allowed_ips}):
        yield str(ip_network(text, strict=False)[-1]), text


def _joined(rows: set[Files | Reach]) -> tuple[Files | Reach, ...]:
    """Rows that differ in their method alone as one; a path is left out where the same holds for all paths."""
    files = sorted(each for each in rows if isinstance(each, Files))
    methods: dict[Reach, list[str]] = {}
    for each in rows:
        if isinstance(each, Reach):
            methods.setdefault(msgspec.structs.replace(each, methods=()), []).append(each.methods[0])
    whole = {key: frozenset(found) for key, found in methods.items()}
    reaches: list[Reach] = []
    for key, found in whole.items():
        if key.path != "**" and found <= whole.get(msgspec.structs.replace(key, path="**"), frozenset()):
            continue
        names = _EVERY if found >= set(METHODS) or "*" in found else tuple(sorted(found, key=_order))
        reaches.append(msgspec.structs.replace(key, methods=names))
    return (*files, *sorted(reaches))


def _order(method: str) -> tuple[int, str]:
    return (METHODS.index(method) if method in METHODS else len(METHODS), method)
