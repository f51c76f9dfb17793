"""What two policies let out, asked of both judges: each kind of host, program and request there is.

A kind is all that no pattern of either policy tells apart, so one of it stands for all. A program's kind says which
rules are for it; several together, of which one started the other, have the rules of both. Where all rules are the
same on both sides nothing has to be asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final, final

import msgspec

from holdfast.sandbox.policy.comparing.addresses import addresses_between, carried
from holdfast.sandbox.policy.comparing.kinds import closest, hosts_of, programs_of
from holdfast.sandbox.policy.comparing.questions import questions
from holdfast.sandbox.policy.comparing.rows import UNREAD, Reach
from holdfast.sandbox.policy.granting import Grant, Programs
from holdfast.sandbox.policy.judging import Ask, Connect, Judge
from holdfast.sandbox.policy.matching import address_in
from holdfast.sandbox.policy.openshell import Endpoint, Policy

__all__ = ("Network",)

_MOST_TOGETHER: Final = 200
"""Sets of programs."""
_UNHEARD: Final = (
    *("websocket_credential_rewrite", "request_body_credential_rewrite", "allow_uninspected_credentials"),
    *("credential_signing", "signing_service", "signing_region", "credential_binding"),
    *("graphql_max_body_bytes", "json_rpc"),
)
"""Options of an endpoint that the judge does not know."""

Row = tuple[Reach, bool, bool]
"""What it is about, whether the first lets it pass, whether the second does."""


class _Rule(msgspec.Struct, frozen=True):
    """An endpoint and its programs."""

    endpoint: Endpoint
    programs: tuple[str, ...]


@final
class Network:
    """The comparison of what two policies let out."""

    def __init__(self, before: Policy, after: Policy) -> None:
        self._judges = Judge(before), Judge(after)
        self._rules = [*_rules(before)], [*_rules(after)]
        self._known: dict[object, list[Row]] = {}
        self.unsure: dict[str, None] = {}
        """What could not be told."""

    def rows(self) -> Iterator[Row]:
        """Yields everything that was asked about and is not the same."""
        if not _differ(*self._rules):
            return
        every = [*chain(*self._rules)]
        try:
            hosts = hosts_of([each.endpoint.host for each in every])
        except OverflowError:
            self.unsure["the hosts: their patterns are too many, or look like addresses"] = None
            return
        grants = [[(Grant("", each.endpoint, Programs(())), each) for each in some] for some in self._rules]
        for host in hosts:
            there = [[each for grant, each in some if grant.hosts(host)] for some in grants]
            for port in sorted({port for each in chain(*there) for port in each.endpoint.every_port}):
                here = [[each for each in some if port in each.endpoint.every_port] for some in there]
                if _differ(*here):
                    shown = closest((each.endpoint.host for each in chain(*here) if each.endpoint.host), "*")
                    yield from self._by_program(host, shown if "*" in shown else host, port, here)

    def _by_program(self, host: str, shown: str, port: int, here: list[list[_Rule]]) -> Iterator[Row]:
        told: set[tuple[Reach, bool]] = set()
        try:
            programs = _programs([*chain(*here)])
        except OverflowError:
            self.unsure[f"{shown}:{port}: the patterns of its programs are too many"] = None
            return
        for asking in programs:
            sides = [[each.endpoint for each in some if Programs(each.programs).any_of(asking)] for some in here]
            if not _differ(*sides):
                continue
            binary = " with ".join(
                closest(
                    (path for each in chain(*here) for path in each.programs if Programs([path]).any_of([one])), one
                )
                for one in asking
            )
            for row, was, will in self._asked(Connect(host, port, asking), sides):
                known = (msgspec.structs.replace(row, host=shown, port=port), will)
                if len(asking) == 1 or known not in told:
                    told.add(known)
                    yield msgspec.structs.replace(known[0], binary=binary), was, will

    def _asked(self, connect: Connect, sides: list[list[Endpoint]]) -> list[Row]:
        """Rows that say neither who asks nor where: what was asked about the same rules before is asked no more."""
        literal = connect.host if address_in(connect.host) else ""
        key = (literal, connect.port, *(tuple(sorted(map(id, each))) for each in sides))
        if key not in self._known:
            self._known[key] = [*self._differences(connect, sides)]
            where = f"{connect.host if literal else closest((each.host for each in chain(*sides)), '*')}:{connect.port}"
            heard = [{repr(_unheard(each)) for each in some} for some in sides]
            if heard[0] != heard[1] and all(heard):
                self.unsure[f"{where}: options that the judge does not know differ"] = None
            if carried(chain(*sides)):
                self.unsure[f"{where}: ranges of addresses that carry others inside"] = None
        return self._known[key]

    def _differences(self, connect: Connect, sides: list[list[Endpoint]]) -> Iterator[Row]:
        old, new = self._judges
        was, will = old.connect(connect), new.connect(connect)
        reach = Reach("", "", 0)
        if was.allowed and will.allowed and address_in(connect.host) is None:
            for text, before, after in addresses_between(old, new, connect, *sides):
                yield msgspec.structs.replace(reach, address=text), before, after
        if not was.inspect and not will.inspect:
            if was.allowed != will.allowed:
                yield reach, was.allowed, will.allowed
            return
        if was.allowed and will.allowed and was.inspect != will.inspect:
            yield msgspec.structs.replace(reach, methods=(UNREAD,)), will.inspect, was.inspect
        try:
            for each in questions([*chain(*sides)]):
                ask = Ask(
                    *(connect.host, connect.port, connect.binaries, each.method, each.path, each.query, each.calls),
                    secure=each.secure,
                )
                passed, passes = old.request(ask).allowed, new.request(ask).allowed
                if passed != passes:
                    row = Reach("", "", 0, each.shown, each.names, query=each.with_query)
                    yield row, passed, passes
        except OverflowError:
            self.unsure[f"requests to {connect.host}:{connect.port}: their kinds are too many"] = None


def _rules(policy: Policy) -> Iterator[_Rule]:
    for each in policy.network_policies.values():
        programs = tuple(binary.path for binary in each.binaries)
        yield from (_Rule(endpoint, programs) for endpoint in each.endpoints)


def _differ(one: Sequence[object], two: Sequence[object]) -> bool:
    """Whether two lists hold other things, in whatever order."""
    left = list(two)
    for each in one:
        if each not in left:
            return True
        left.remove(each)
    return bool(left)


def _unheard(endpoint: Endpoint) -> tuple[object, ...]:
    mcp = endpoint.mcp
    return (*(getattr(endpoint, each) for each in _UNHEARD), *((mcp.versions, mcp.max_body_bytes) if mcp else ()))


def _programs(rules: Sequence[_Rule]) -> list[tuple[str, ...]]:
    """Programs of each kind, alone and together with those that started them, as far as that makes a difference.

    Raises:
        OverflowError: there are more than can be asked about.
    """
    alone: dict[frozenset[int], tuple[str, ...]] = {}
    for each in programs_of([path for rule in rules for path in rule.programs]):
        meant = frozenset(number for number, rule in enumerate(rules) if Programs(rule.programs).any_of([each]))
        if meant:
            alone.setdefault(meant, (each,))
    found = dict(alone)
    todo = list(alone.items())
    for meant, programs in todo:  # it grows while it is walked
        for more, others in alone.items():
            both = meant | more
            if both not in found:
                if len(found) >= _MOST_TOGETHER:
                    raise OverflowError("more kinds than can be looked at")
                found[both] = (*programs, *others)
                todo.append((both, found[both]))
    return [*found.values()]
