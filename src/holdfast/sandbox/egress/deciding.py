"""Where the policy is asked: for everybody who was seen at the other end, with a record of each answer.

A connection can have several holders, and a holder can become another program. Whoever was seen since it was accepted
is asked for, and all of them have to be allowed: so neither handing a socket on nor becoming somebody else gains
anything.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import final

import msgspec

from holdfast.sandbox.egress.answers import Decided, Layer, Refused
from holdfast.sandbox.egress.identity import Identity, Peer, Unidentified
from holdfast.sandbox.egress.parsing.authorities import Authority
from holdfast.sandbox.policy.judging import Ask, Connect, Decision, Judge
from holdfast.sandbox.policy.openshell import Endpoint, Policy

__all__ = ("Client", "Deciding")

_STEPS = (
    "Do not look for another way: this is the only one out of the sandbox.",
    "Ask for an endpoint with this host, port, method and path, and for this program, in the sandbox's policy.",
)
_SERVICE = Decision(True, "it is a service of this sandbox", inspect=True, endpoint=Endpoint())


@final
class Client:
    """One accepted connection, and what it is being used for."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.peers: tuple[Peer, ...] = (Peer(0, ()),)
        """Everybody who was seen at the other end."""
        self.to = Authority("", 0)
        """Where it wants to go."""
        self.standing: Callable[[], Decision] | None = None
        """Asks again about what is going on, after the policy has changed."""
        self.address = ""
        """Where it is connected to by now."""
        self.unread = False
        """Whether it has a tunnel that nobody looks into."""


@final
class Deciding:
    """Asks the judge, and writes down what it said."""

    def __init__(
        self, policy: Policy, identity: Identity | None, log: Callable[[Decided], None], services: Collection[str]
    ) -> None:
        """`services` are the names that anybody in the sandbox reaches, as they are at each moment."""
        self._judge = Judge(policy)
        self._identity = identity
        self._log = log
        self._services = services
        self.generation = 0
        """How often the policy has changed."""

    def update(self, policy: Policy) -> None:
        """Decides by another policy from now on."""
        self._judge = Judge(policy)
        self.generation += 1

    async def look(self, client: Client) -> bool:
        """Looks who is at the other end, and returns whether that is anybody new.

        Raises:
            Refused: nobody the sandbox knows.
        """
        if self._identity is None:
            return False
        try:
            seen = await self._identity.of(client.socket)
        except Unidentified as unknown:
            self._settled(client, Decision(False, str(unknown)), "connection")
            return True
        known = tuple(each for each in client.peers if each.pid)
        new = tuple(each for each in seen if each not in known)
        client.peers = known + new
        return bool(new)

    def connect(self, client: Client, to: Authority) -> Decision:
        """Returns why a connection may be made.

        Raises:
            Refused: it may not.
        """
        client.to, client.standing = to, lambda: self._connect(client, to)
        return self._settled(client, client.standing(), "connection")

    def dial(self, client: Client, to: Authority, address: str) -> Refused | None:
        """Returns why an address that was found for a host may not be dialled; nothing where it may."""
        asks = [Connect(to.host, to.port, each.binaries) for each in client.peers]
        decision = _strictest([self._judge.dial(each, address) for each in asks])
        record = _record(client, to, decision, "address", address=address)
        self._log(record)
        return None if decision.allowed else _denied(decision, record)

    def request(
        self,
        client: Client,
        to: Authority,
        method: str,
        path: str,
        query: str,
        *,
        secure: bool = False,
        bodied: bool = False,
    ) -> Decision:
        """Returns why a request may be made.

        Raises:
            Refused: it may not.
        """

        def ask() -> Decision:
            if to.host in self._services:
                return _SERVICE
            where = to.host, to.port
            asks = [
                Ask(*where, each.binaries, method, path, query, secure=secure, bodied=bodied) for each in client.peers
            ]
            return _strictest([self._judge.request(each) for each in asks])

        client.to, client.standing = to, ask
        return self._settled(client, ask(), "request", method, path)

    def again(self, client: Client) -> Decision | None:
        """Returns what is to be said by now about what a client is doing; nothing where it does nothing yet."""
        if client.standing is None:
            return None
        decision = client.standing()
        if decision.allowed and client.address:
            asks = [Connect(client.to.host, client.to.port, each.binaries) for each in client.peers]
            dialled = _strictest([self._judge.dial(each, client.address) for each in asks])
            return decision if dialled.allowed else dialled
        return decision

    def withdraw(self, client: Client, decision: Decision) -> None:
        """Writes down that what a client is doing is no longer allowed."""
        why = "its requests have to be read" if decision.allowed else decision.reason
        changed = msgspec.structs.replace(decision, allowed=False, audit=False, reason=f"the policy has changed: {why}")
        self._log(_record(client, client.to, changed, "connection"))

    def filled(self, client: Client, keys: tuple[str, ...]) -> None:
        """Writes down which credentials were filled in."""
        reason = f"filled in for {str(client.to)!r}, to which they are bound"
        record = _record(client, client.to, Decision(True, reason), "credential")
        self._log(msgspec.structs.replace(record, credentials=keys))

    def refusal(self, client: Client, refused: Refused) -> None:
        """Writes down a refusal that the judge did not write down already; a server that fails is none."""
        if refused.decided is None and refused.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self._log(_record(client, client.to, Decision(False, refused.reason), "request"))

    def _connect(self, client: Client, to: Authority) -> Decision:
        if to.host in self._services:
            return _SERVICE
        return _strictest([self._judge.connect(Connect(to.host, to.port, each.binaries)) for each in client.peers])

    def _settled(self, client: Client, decision: Decision, layer: Layer, method: str = "", path: str = "") -> Decision:
        record = _record(client, client.to, decision, layer, method=method, path=path)
        self._log(record)
        if decision.allowed:
            return decision
        raise _denied(decision, record)


def _denied(decision: Decision, record: Decided) -> Refused:
    return Refused(HTTPStatus.FORBIDDEN, "policy_denied", decision.reason, next_steps=_STEPS, decided=record)


def _strictest(decisions: list[Decision]) -> Decision:
    """The answer for all of several holders: a denial if there is one, else the one that looks closest; nobody looks
    into a connection only where that goes for each of them.
    """
    found = max(decisions, key=lambda each: (not each.allowed, each.inspect, not each.sealed, not each.audit))
    sealed = all(each.sealed for each in decisions)
    return found if found.sealed == sealed else msgspec.structs.replace(found, sealed=sealed)


def _record(
    client: Client,
    to: Authority,
    decision: Decision,
    layer: Layer,
    *,
    address: str = "",
    method: str = "",
    path: str = "",
) -> Decided:
    by = client.peers[-1]
    endpoint = decision.endpoint
    return Decided(
        verdict="audit" if decision.audit else "allowed" if decision.allowed else "denied",
        layer=layer,
        reason=decision.reason,
        host=to.host,
        port=to.port,
        address=address,
        binary=by.binaries[0] if by.binaries else "",
        pid=by.pid,
        method=method,
        path=path,
        policy=decision.rule,
        rule=f"{endpoint.host}:{to.port}" if endpoint and decision.rule else "",
    )
