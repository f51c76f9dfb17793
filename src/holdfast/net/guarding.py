"""Where the address guard stands: between the name and the socket.

Every connection of the client is made on a socket that `GuardedSockets.open` hands out, and it hands one out only
for the numeric address that is then dialled. So a literal in a URL, a name, a redirect and a name that changed its
mind since it was looked up are all judged at the same place, by where they really lead.

Names are filtered once before (`GuardedResolver`): of several addresses only those the policy allows are tried, and
which of them answers first cannot change the verdict.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from holdfast.errors import AddressBlocked
from holdfast.net.settings import Resolve
from holdfast.safety.addresses import AddressPolicy, check, may_reach

__all__ = ("BlockedSocketError", "GuardedResolver", "GuardedSockets")

_AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]


class BlockedSocketError(OSError):
    """The guard's refusal in the shape that connecting code expects; it never leaves this room."""

    def __init__(self, blocked: AddressBlocked) -> None:
        super().__init__(errno.EACCES, str(blocked))


@final
class GuardedSockets:
    """Opens sockets for addresses that a policy allows."""

    __slots__ = ("_policy",)

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy

    def open(self, info: _AddressInfo) -> socket.socket:
        """Returns an unconnected socket for one address.

        Raises:
            BlockedSocketError: the policy does not allow it.
        """
        family, kind, protocol, _, address = info
        try:
            check(self._policy, str(address[0]), int(str(address[1])))
        except AddressBlocked as blocked:
            raise BlockedSocketError(blocked) from blocked
        return socket.socket(family=family, type=kind, proto=protocol)


@final
class GuardedResolver(AbstractResolver):
    """Looks names up and keeps the addresses that a policy allows."""

    def __init__(self, policy: AddressPolicy, resolve: Resolve | None, timeout: float) -> None:
        self._policy = policy
        self._resolve = resolve
        self._timeout = timeout

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Returns the addresses of a name that may be dialled.

        Raises:
            AddressBlocked: it has addresses and none of them may.
            OSError: it has none, or nobody answered in time.
        """
        async with asyncio.timeout(self._timeout):
            found = await self._look_up(host, port, family)
        allowed = [each for each in found if may_reach(self._policy, each["host"])]
        if not allowed:
            if not found:
                raise OSError(errno.ENOENT, f"the name {host!r} has no address")
            check(self._policy, found[0]["host"], port, host)
        return allowed

    async def close(self) -> None:
        """Does nothing: there is nothing to close."""

    async def _look_up(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        if self._resolve is None:
            return await ThreadedResolver().resolve(host, port, family)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._resolve(host, port)
        ]
