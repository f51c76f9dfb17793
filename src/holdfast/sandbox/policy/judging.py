"""Whether a policy lets a program make a connection, or a request over one.

Pure: nothing is looked up, and nothing happens. Prepare a `Judge` once for a policy and ask it often; a question costs
some ten microseconds. Three questions, in the order a proxy comes to them:

1. `connect`: may these programs go to this host and port at all?
2. `dial`: may the address its name turned out to have be dialled?
3. `request`: where `Decision.inspect` says so, may this one request be made?

What nobody allows is denied. A `deny_rules` entry wins over whatever allows. An endpoint that does not enforce lets
requests pass that break its rules; such a decision is `allowed` and `audit`. That never goes for connections, for
addresses, or for a request that cannot be read with certainty.

Several endpoints may lead to one host and port. In whatever order they stand, nobody looks into a connection only
where all that have rules for requests say `tls: skip` and none of them enforces; then every request passes.

Stricter than OpenShell in one thing: a private address is reached through `allowed_ips` alone, also by an exact name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import final

import msgspec

from holdfast.errors import UsageError
from holdfast.safety.addresses import judge
from holdfast.sandbox.policy.granting import Grant, Programs, lies_in
from holdfast.sandbox.policy.matching import address_in, canonical_host, canonical_path
from holdfast.sandbox.policy.openshell import Endpoint, Policy
from holdfast.sandbox.policy.requesting import Asked, Call

__all__ = ("Ask", "Call", "Connect", "Decision", "Judge")

_NEVER = "no policy opens such addresses"


class Connect(msgspec.Struct, frozen=True):
    """A connection that somebody wants to make."""

    host: str
    """The name or address as the program gave it."""
    port: int
    binaries: tuple[str, ...] = ()
    """The executable that asks, and then its ancestors: real paths, as the kernel knows them."""


class Ask(msgspec.Struct, frozen=True):
    """A request that somebody wants to make."""

    host: str
    port: int
    binaries: tuple[str, ...]
    method: str
    """HTTP's method, or `WEBSOCKET_TEXT` for a message of the client."""
    path: str
    """The path of the URL as it was sent, without its query."""
    query: str = ""
    """What follows the question mark, as it was sent."""
    calls: tuple[Call, ...] = ()
    """What its body asks for, where the endpoint speaks GraphQL, MCP or JSON-RPC: each of them has to be allowed."""
    secure: bool = False
    """Whether it is made over TLS, which has to end on the way if the request is to be read."""
    bodied: bool = False
    """Whether it has a body."""


class Decision(msgspec.Struct, frozen=True):
    """What came out, and why."""

    allowed: bool
    reason: str
    """For people: what decided, and what could be done about it."""
    rule: str = ""
    """The key of the network policy that decided; empty where none did."""
    audit: bool = False
    """Whether it breaks a rule and passes only because the endpoint does not enforce."""
    inspect: bool = False
    """Whether the requests of this connection are to be read and asked about one by one."""
    sealed: bool = False
    """Whether nobody may look into TLS there: all endpoints that could say so do, by `tls: skip`."""
    endpoint: Endpoint | None = None
    """What it was decided by."""


@final
class Judge:
    """Answers for one policy.

    Raises:
        UsageError: the policy was not loaded but made, and one of its patterns or ranges is none.
    """

    def __init__(self, policy: Policy) -> None:
        self._grants_by: dict[tuple[str, int], list[Grant]] = {}
        for key, each in policy.network_policies.items():
            try:
                programs = Programs(binary.path for binary in each.binaries)
                grants = [Grant(key, endpoint, programs) for endpoint in each.endpoints]
            except ValueError as error:
                raise UsageError(f"network policy {key!r}: {error}; load it from a document to see where") from None
            for grant, port in ((made, port) for made in grants for port in made.endpoint.every_port):
                self._grants_by.setdefault((grant.tail, port), []).append(grant)

    def connect(self, request: Connect) -> Decision:
        """Returns whether a connection may be made, as far as that can be told without looking its name up."""
        found = self._grants(request.host, request.port, request.binaries)
        if isinstance(found, Decision):
            return found
        read, sealed, unread = _looked_into(found)
        by = (read or found)[0]
        reason = f"{by.key!r} lets it connect to {request.host}:{request.port}"
        return Decision(True, reason, by.key, inspect=not unread, sealed=sealed, endpoint=by.endpoint)

    def dial(self, request: Connect, address: str) -> Decision:
        """Returns whether the address that was found for the request's host may be dialled; asks `connect` first."""
        found = self._grants(request.host, request.port, request.binaries)
        return found if isinstance(found, Decision) else _dialled(found, request.host, address)

    def request(self, request: Ask) -> Decision:
        """Returns whether a request may be made; asks `connect` first."""
        found = self._grants(request.host, request.port, request.binaries)
        if isinstance(found, Decision):
            return found
        read, sealed, unread = _looked_into(found)
        if not read:
            by = found[0]
            reason = f"{by.key!r} allows every request to {request.host}:{request.port}: it does not read them"
            return Decision(True, reason, by.key, sealed=sealed, endpoint=by.endpoint)
        if request.secure and sealed and not unread:
            by = next(each for each in read if each.endpoint.enforced)
            reason = f"{by.key!r} enforces its rules and says `tls: skip`, so TLS has no reader there; take that away"
            return Decision(False, reason, by.key, inspect=True, sealed=True, endpoint=by.endpoint)
        decision = _read(read, request)
        return _passed(decision) if unread else msgspec.structs.replace(decision, sealed=sealed)

    def _grants(self, host: str, port: int, binaries: Sequence[str]) -> list[Grant] | Decision:
        """What lets these programs go there, or why nothing does."""
        name = canonical_host(host)
        if name is None:
            return Decision(False, f"{host[:200]!r} is neither a host name nor an address; write it plainly")
        near = (self._grants_by.get((tail, port), ()) for tail in _tails(name))
        there = [each for some in near for each in some if each.hosts(name)]
        if not there:
            return Decision(False, self._unknown(name, port))
        found = [each for each in there if each.programs.any_of(binaries)]
        if not found:
            who = repr(binaries[0]) if binaries else "a program nobody knows"
            do = "add its real path to `binaries`" if binaries else "name the program behind the address"
            reason = f"{there[0].key!r} leads to {name}:{port}, but not for {who} or what started it; {do}"
            return Decision(False, reason, there[0].key, endpoint=there[0].endpoint)
        literal = address_in(name)
        if literal is not None:
            dialled = _dialled(found, name, literal)
            if not dialled.allowed:
                return dialled
        return found

    def _unknown(self, name: str, port: int) -> str:
        by = self._grants_by.items()
        ports = sorted({at for (tail, at), some in by if tail == name and any(each.hosts(name) for each in some)})
        if ports:
            return f"no rule leads to port {port} of {name}, only to {', '.join(map(str, ports))}; add the port"
        return f"no rule leads to {name}:{port}; add an endpoint for it if it should be reached"


def _looked_into(found: list[Grant]) -> tuple[list[Grant], bool, bool]:
    """What has rules for requests, whether nobody may look into TLS, and whether therefore no request is read."""
    read = [each for each in found if each.inspected]
    sealed = all(each.endpoint.tls == "skip" for each in read or found)
    return read, sealed, not read or (sealed and not any(each.endpoint.enforced for each in read))


def _read(grants: list[Grant], request: Ask) -> Decision:
    path = canonical_path(request.path, encoded_slash=all(each.endpoint.allow_encoded_slash for each in grants))
    if path is None:
        what = f"the path {request.path[:200]!r} can be understood in two ways; send it plain and decoded"
        return Decision(False, what, grants[0].key, inspect=True, endpoint=grants[0].endpoint)
    return _decided(grants, Asked(request.method.upper(), path, request.query, request.calls, bodied=request.bodied))


def _passed(decision: Decision) -> Decision:
    """What a decision comes to where nobody looks."""
    broken = decision.audit or not decision.allowed
    reason = f"{decision.reason}; nobody looks into it (`tls: skip`), so it passes" if broken else decision.reason
    return msgspec.structs.replace(decision, allowed=True, audit=broken, reason=reason, inspect=False, sealed=True)


def _tails(name: str) -> Iterator[str]:
    """A name, and what is left of it without its first label, without its second, and so on."""
    yield name
    at = name.find(".") + 1
    while at:
        yield name[at:]
        at = name.find(".", at) + 1
    yield ""


def _dialled(grants: Iterable[Grant], host: str, address: str) -> Decision:
    via = "" if host == address else f", which {host} leads to,"
    try:
        verdict, inside = judge(address)
    except ValueError:
        return Decision(False, f"{address!r} is no address; look the name up first")
    if verdict not in ("public", "private", "unique-local", "shared"):
        return Decision(False, f"{address}{via} is {verdict}: {_NEVER}")
    refused = None
    for each in grants:
        if each.addresses and lies_in(each.addresses, address, inside):
            return Decision(True, f"{each.key!r} lists {address}", each.key, endpoint=each.endpoint)
        if not each.addresses and verdict == "public":
            return Decision(True, f"{address}{via} is public", each.key, endpoint=each.endpoint)
        refused = refused or each
    if refused is None:
        return Decision(False, "no rule leads there")
    why = "is not in its allowed_ips" if refused.addresses else f"is {verdict}, and it has no allowed_ips"
    reason = f"{address}{via} {why}; add it to those of {refused.key!r} if it should be reached"
    return Decision(False, reason, refused.key, endpoint=refused.endpoint)


def _decided(grants: list[Grant], asked: Asked) -> Decision:
    what = f"{asked.method} {asked.path}"
    selected = [each for each in grants if each.selects(asked.path)]
    if not selected:
        by = grants[0]
        reason = f"no endpoint there is for the path {asked.path!r}; add one, or take the `path` of {by.key!r} away"
        return Decision(False, reason, by.key, inspect=True, endpoint=by.endpoint)
    weight = max(each.weight for each in selected)
    closest = [each for each in selected if each.weight == weight]
    by = closest[0]
    for each in selected:
        if unread := each.requests.unread(asked):
            return Decision(False, f"{what}: {unread}", each.key, inspect=True, endpoint=each.endpoint)
    audit = not any(each.endpoint.enforced for each in selected)
    for each in selected:
        if refusal := each.requests.refuses(asked):
            return _broken(each, f"{each.key!r} denies {what}: {refusal}", audit=audit)
    for each in closest:
        if not each.requests.lacks(asked):
            return Decision(True, f"{each.key!r} allows {what}", each.key, inspect=True, endpoint=each.endpoint)
    return _broken(by, f"{by.key!r} does not allow {what}: {by.requests.lacks(asked)}", audit=audit)


def _broken(by: Grant, reason: str, *, audit: bool) -> Decision:
    if audit:
        reason += "; it passes, because the endpoint does not say `enforcement: enforce`"
    return Decision(audit, reason, by.key, audit=audit, inspect=True, endpoint=by.endpoint)
