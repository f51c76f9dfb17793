"""The way out of one sandbox: its listener is in there, and who answers is out here.

Nothing of ours runs in the sandbox for it: its first process opens a socket on its own loopback and hands it out, and
programs find it by the variables they all look for.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from holdfast.errors import IsolationMissing
from holdfast.sandbox.egress.answers import Decided
from holdfast.sandbox.egress.certificates import CertificateAuthority
from holdfast.sandbox.egress.credentials import Credential
from holdfast.sandbox.egress.identity import Identity
from holdfast.sandbox.egress.proxy import Proxy
from holdfast.sandbox.egress.recording import Record
from holdfast.sandbox.egress.settings import Service
from holdfast.sandbox.native.planning import CERTIFICATES, PROXY_PORT
from holdfast.sandbox.policy.openshell import Policy

__all__ = ("Outlet", "environment")

_SYSTEM = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "DENO_CERT")
_MOST = 4_000
"""Decisions of each verdict that are kept one by one until somebody takes them."""


class Outlet:
    """What is outside of the listener."""

    def __init__(
        self, policy: Policy, credentials: Sequence[Credential] = (), services: Mapping[str, Service] | None = None
    ) -> None:
        self._policy = policy
        self._services = services or {}
        self._credentials = credentials
        self._record = Record(_MOST)
        self._proxy: Proxy | None = None
        self._certificates: CertificateAuthority | None = None
        with suppress(IsolationMissing):  # without it, what would have to be read inside TLS is refused
            self._certificates = CertificateAuthority()

    @property
    def trusted(self) -> str:
        """The certificates that programs in there trust: the system's, and that of this way out."""
        system = next((Path(each).read_text("ascii", "replace") for each in _SYSTEM if Path(each).is_file()), "")
        return f"{system}\n{self._certificates.pem if self._certificates is not None else ''}"

    def open(self, listener: int, init: int) -> None:
        """Answers from now on; `listener` is taken over, `init` is the sandbox's first process as we count."""
        taken = socket.socket(fileno=listener)
        try:
            identity = Identity(lambda: _family(init), init=init)
            authority, credentials = self._certificates, self._credentials
            proxy = Proxy(self._policy, self._note, identity=identity, certificates=authority, credentials=credentials)
            if self._services:
                proxy.update(self._policy, self._services)
            proxy.start(taken)
        except BaseException:
            taken.close()
            raise
        self._proxy = proxy

    def update(self, policy: Policy, services: Mapping[str, Service]) -> None:
        """Decides by another policy, and reaches other services, from now on; what is no longer allowed ends.

        Raises:
            UsageError, ValueError: as `Proxy.update` does; nothing is changed.
        """
        if self._proxy is not None:
            self._proxy.update(policy, services)
        self._policy, self._services = policy, services

    @property
    def placeholders(self) -> dict[str, str]:
        """What programs find in place of secrets, by the variables' names."""
        if self._proxy is None:
            return {}
        return {each.key: self._proxy.placeholder(each.key) for each in self._credentials}

    def _note(self, decided: Decided) -> None:
        self._record.add(decided)

    def take(self) -> tuple[Decided, ...]:
        """Returns what was decided since the last time; what there was too much of is counted."""
        return self._record.take()

    async def close(self) -> None:
        """Ends every connection."""
        if self._proxy is not None:
            await self._proxy.close()


def environment() -> dict[str, str]:
    """Returns the variables by which programs find the way out."""
    proxy = f"http://127.0.0.1:{PROXY_PORT}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    direct = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost,::1")
    return {**dict.fromkeys(names, proxy), **direct, **dict.fromkeys(_TRUST, CERTIFICATES), "NODE_USE_ENV_PROXY": "1"}


def _family(init: int) -> set[int]:
    """Returns the processes of a sandbox: all descend from its first."""
    found, todo = {init}, [init]
    while todo:
        pid = todo.pop()
        with suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                    children = {int(each) for each in file.read().split()} - found
                found |= children
                todo += children
    return found
