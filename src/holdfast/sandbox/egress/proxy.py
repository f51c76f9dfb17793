"""The proxy of one sandbox: it listens where the sandbox can reach it, and everything else happens per connection.

`CONNECT host:port` and `GET http://host/path` are understood, nothing else. Every decision is one record for `log`,
called in the event loop and expected to return at once. A connection that fails takes nobody with it, and closing the
proxy ends all of them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final, final

from holdfast.errors import UsageError
from holdfast.sandbox.egress.answers import Decided, Refused, answer_of
from holdfast.sandbox.egress.certificates import CertificateAuthority
from holdfast.sandbox.egress.credentials import Credential, Placeholders
from holdfast.sandbox.egress.deciding import Client, Deciding
from holdfast.sandbox.egress.dialling import Dialler, quicken
from holdfast.sandbox.egress.exchanging import Equipment, Exchanges, bad_request, next_head
from holdfast.sandbox.egress.identity import Identity
from holdfast.sandbox.egress.parsing.authorities import Authority, authority_of
from holdfast.sandbox.egress.parsing.heads import Head, framing_of_request
from holdfast.sandbox.egress.settings import ProxySettings, Service
from holdfast.sandbox.egress.tunnelling import is_read, tunnel
from holdfast.sandbox.egress.wires import Reader, Wire, farewell
from holdfast.sandbox.policy.heeding import UNHEEDED, unheeded
from holdfast.sandbox.policy.openshell import Policy

__all__ = ("Proxy",)

_BACKLOG: Final = 1024
"""Connections that wait to be accepted: a client of a unix socket is turned away by the kernel beyond them."""
_REST: Final = 0.05
"""Seconds before accepting is tried again when the process has no more descriptors."""
_BUSY: Final = Refused(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "too_many_connections",
    "this sandbox has as many connections as it may have",
    next_steps=("Close some of them, and try again.",),
)


@final
class Proxy:
    """The one way out of one sandbox."""

    def __init__(
        self,
        policy: Policy,
        log: Callable[[Decided], None],
        *,
        identity: Identity | None = None,
        certificates: CertificateAuthority | None = None,
        credentials: Sequence[Credential] = (),
        dialler: Dialler | None = None,
        settings: ProxySettings | None = None,
    ) -> None:
        """Makes a proxy that is not listening yet.

        Without `identity` no program is known, and no rule lets anything pass: only services are reached then. Without
        `certificates`, what has to be read inside TLS is refused.

        Raises:
            UsageError: the policy has an option that nobody heeds.
        """
        _refuse_unheeded(policy)
        dialler = dialler or Dialler()
        self._settings = settings or ProxySettings()
        self._deciding = Deciding(policy, identity, log, dialler.services)
        self._placeholders = Placeholders(credentials)
        self._at = Equipment(self._deciding, dialler, self._placeholders, certificates, self._settings)
        self._listener: socket.socket | None = None
        self._path: Path | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._open: dict[asyncio.Task[None], Client] = {}

    def start(self, where: Path | socket.socket) -> None:
        """Listens on a unix socket that it makes at a path, or on a socket that listens already and is now its own.

        Who may connect to the path is what the file's mode and its folder say, which are the caller's to set.

        Raises:
            UsageError: it is listening already.
            OSError: it cannot listen there.
        """
        if self._listener is not None:
            raise UsageError("this proxy is listening already; make another one for another sandbox")
        if isinstance(where, Path):
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._listener.bind(str(where))
                self._listener.listen(_BACKLOG)
            except BaseException:
                self._listener.close()
                self._listener = None
                raise
            self._path = where
        else:
            self._listener = where
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener), name="holdfast-egress")

    def update(self, policy: Policy, services: Mapping[str, Service] | None = None) -> None:
        """Decides by another policy from now on, and reaches other services, where some are given, or none; what is
        going on and no longer allowed ends at once.

        Raises:
            UsageError: the policy has an option that nobody heeds; the one before goes on.
            ValueError: the name of a service is no name of a host; all goes on as before.
        """
        _refuse_unheeded(policy)
        if services is not None:
            self._at.dialler.serve(services)
        self._deciding.update(policy)
        for task, client in list(self._open.items()):
            decision = self._deciding.again(client)
            if decision is None:
                continue
            if not decision.allowed or (client.unread and is_read(self._at, client.to, decision)):
                self._deciding.withdraw(client, decision)
                task.cancel()

    def placeholder(self, key: str) -> str:
        """Returns what the sandbox's programs hold in place of a credential.

        Raises:
            UsageError: there is no such credential.
        """
        return self._placeholders.of(key)

    async def close(self) -> None:
        """Ends every connection, and stops listening; afterwards nothing of it is left."""
        tasks = [*self._open, *([self._accepting] if self._accepting else [])]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._at.dialler.close()
        if self._listener is not None:
            self._listener.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._listener = self._path = self._accepting = None

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connected, _ = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(_REST)
                continue
            if len(self._open) >= self._settings.connections:
                with suppress(OSError):
                    connected.send(answer_of(_BUSY))
                connected.close()
                continue
            client = Client(connected)
            task = loop.create_task(self._serve(client))
            self._open[task] = client
            task.add_done_callback(self._open.pop)

    async def _serve(self, client: Client) -> None:
        wire = Wire(client.socket)
        try:
            with suppress(OSError):  # one of the two sides went away, or was silent for too long
                quicken(client.socket)
                async with asyncio.timeout(self._settings.total_seconds):
                    await self._converse(client, Reader(wire))
        finally:
            wire.close()

    async def _converse(self, client: Client, reader: Reader) -> None:
        deciding = self._deciding
        try:
            await deciding.look(client)
            head = await next_head(reader, self._settings, self._settings.head_limit)
            if head is None:
                return
            if head.method != "CONNECT":
                await Exchanges(self._at, client, reader).serve(head)
                return
            client.to = to = _authority_in(head)
            await deciding.look(client)
            await tunnel(self._at, client, reader, to, deciding.connect(client, to))
        except Refused as refused:
            deciding.refusal(client, refused)
            await farewell(reader.wire, answer_of(refused))


def _refuse_unheeded(policy: Policy) -> None:
    if (option := next(unheeded(policy), None)) is not None:
        raise UsageError(f"nobody heeds {option.ability!r} of the policy ({UNHEEDED[option.ability]})")


def _authority_in(head: Head) -> Authority:
    """Returns where a CONNECT wants to go."""
    try:
        to = authority_of(head.target)
        hosts = head.values("host")
        if len(hosts) > 1 or framing_of_request(head) != 0:
            raise ValueError("a CONNECT has one Host field at most, and no body")
        if hosts and authority_of(hosts[0], to.port) != to:
            raise ValueError("the Host field names another host than CONNECT does")
    except ValueError as wrong:
        raise bad_request(str(wrong)) from None
    return to
