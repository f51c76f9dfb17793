"""From a name to a connection: the only place where names are looked up.

A name is looked up once for each connection, each address it has is judged, and one that passed is what is dialled:
between judging and dialling there is no second look-up that could answer otherwise. A service of the sandbox is
reached by its name without any look-up, over whatever its owner connects to.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final, final

from holdfast.net.settings import Resolve
from holdfast.sandbox.egress.answers import Refused
from holdfast.sandbox.egress.parsing.authorities import Authority, authority_of
from holdfast.sandbox.egress.settings import Service
from holdfast.sandbox.egress.wires import TlsWire, Wire, Wiring

__all__ = ("Dialler", "Open", "Service", "quicken")

Open = Callable[[str, int], Awaitable[socket.socket]]
"""Connects to a numeric address and a port. It raises OSError when nobody is there."""

_TRIED: Final = 4
"""Addresses of one name that are tried."""
_LOOK_UPS: Final = 4
"""Names that are looked up at once."""


@final
class Dialler:
    """Connects to hosts and services."""

    def __init__(
        self,
        *,
        services: Mapping[str, Service] | None = None,
        resolve: Resolve | None = None,
        connect: Open | None = None,
        trust: ssl.SSLContext | None = None,
        timeout: float = 10.0,
    ) -> None:
        """Makes one; `trust` says whose certificates are believed, `timeout` bounds each step in seconds.

        Raises:
            ValueError: the name of a service is no name of a host.
        """
        self.services: dict[str, Service] = {}
        """How each service is reached, by its name."""
        self.serve(services or {})
        # Of its own: names that are never answered must not keep other work of this process waiting.
        self._threads = ThreadPoolExecutor(_LOOK_UPS, thread_name_prefix="holdfast-names")
        self._resolve = resolve or self._look_up
        self._connect = connect or _connect
        self._trust = trust
        self._timeout = timeout

    def serve(self, services: Mapping[str, Service]) -> None:
        """Reaches these services by their names from now on, and no others.

        Raises:
            ValueError: the name of one is no name of a host; nothing is changed.
        """
        named = {authority_of(name, 80).host: where for name, where in services.items()}
        self.services.clear()
        self.services.update(named)

    async def dial(self, to: Authority, refuses: Callable[[str], Refused | None]) -> Wire:
        """Returns a connection to a service or a host, at an address that nothing `refuses`.

        Raises:
            Refused: the name has no address, none that is allowed, or nobody answers there.
        """
        try:
            if (service := self.services.get(to.host)) is not None:
                async with asyncio.timeout(self._timeout):
                    return Wire(await (_connect_to_path(service) if isinstance(service, Path) else service()))
            judged = {each: refuses(each) for each in await self._addresses(to)}
            allowed = [address for address, refused in judged.items() if refused is None]
            for refused in judged.values():
                if refused is not None and not allowed:
                    raise refused
            return await self._reach(allowed, to.port)
        except OSError as error:
            why = "in time" if isinstance(error, TimeoutError) else f"({error.strerror or type(error).__name__})"
            message = f"{str(to)!r} does not answer {why}; try again later"
            raise Refused(HTTPStatus.BAD_GATEWAY, "upstream_unreachable", message) from None

    async def secure(self, wire: Wire, to: Authority) -> Wiring:
        """Returns TLS over a connection, with the host's certificate checked.

        Raises:
            Refused: it is not believed, or the two do not agree.
        """
        if self._trust is None:
            self._trust = await asyncio.to_thread(ssl.create_default_context)
            self._trust.set_alpn_protocols(["http/1.1"])
        tls = TlsWire(wire, self._trust, host=to.host)
        try:
            async with asyncio.timeout(self._timeout):
                await tls.shake_hands()
        except OSError as error:
            wire.close()
            why = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else "no agreement on TLS"
            message = f"the server at {str(to)!r} is not trusted: {why}"
            raise Refused(HTTPStatus.BAD_GATEWAY, "upstream_untrusted", message) from None
        except BaseException:
            wire.close()
            raise
        return tls

    def close(self) -> None:
        """Gives up what is being looked up."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look_up(self, host: str, port: int) -> list[str]:
        asked = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, asked)
        return [str(each[4][0]) for each in found]

    async def _addresses(self, to: Authority) -> list[str]:
        if to.is_address:
            return [to.host]
        async with asyncio.timeout(self._timeout):
            return list(dict.fromkeys(await self._resolve(to.host, to.port)))

    async def _reach(self, addresses: list[str], port: int) -> Wire:
        failed: OSError | None = None
        for address in addresses[:_TRIED]:
            try:
                async with asyncio.timeout(self._timeout):
                    return Wire(await self._connect(address, port), address)
            except OSError as error:
                failed = failed or error
        raise failed or OSError("nobody is there")


def quicken(connected: socket.socket) -> None:
    """Lets small pieces leave at once."""
    if connected.family != socket.AF_UNIX:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def _connect(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    return await _connected(made, (address, port))


async def _connect_to_path(path: Path) -> socket.socket:
    return await _connected(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), str(path))


async def _connected(made: socket.socket, address: tuple[str, int] | str) -> socket.socket:
    try:
        made.setblocking(False)
        quicken(made)
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made
