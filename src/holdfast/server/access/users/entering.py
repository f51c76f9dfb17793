"""Logins: a token in a cookie, of which the hash is kept.

A login lasts for a day after it was last used, which is written once an hour at most. It ends with a logout, with
another password, and with its user. A cookie goes to this host alone (`__Host-`) wherever the page came over https.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, final

import msgspec

from holdfast.flow.clock import Clock
from holdfast.server.access.credentials import LONGEST, cookie_of, hash_of, new_secret
from holdfast.server.access.origins import changes, check_origin, is_https
from holdfast.server.access.port import Asked
from holdfast.server.access.principal import Principal
from holdfast.server.access.shelf import Fresh, Shelf
from holdfast.server.access.users.keeping import Users
from holdfast.server.access.users.user import Login, User
from holdfast.tools.keeping.port import KeyValues
from holdfast.types import TenantId

__all__ = ("COOKIE", "LIFETIME", "SECURE_COOKIE", "Logins")

COOKIE: Final = "holdfast_session"
SECURE_COOKIE: Final = f"__Host-{COOKIE}"
LIFETIME: Final = 24 * 3600
"""Seconds after its last use for which a login is open."""
_NOTED: Final = 24
"""The part of its lifetime after which a use is written."""
_MOST: Final = 200_000
_SWEPT: Final = 20


@final
class Logins:
    """The logins of a store."""

    def __init__(
        self,
        values: KeyValues,
        clock: Clock,
        users: Users,
        *,
        lifetime: float = LIFETIME,
        https: bool | None = None,
        origins: Collection[str] = (),
    ) -> None:
        """`https` says that this server is reached over https, or that it is not; None has browsers say so."""
        self._clock = clock
        self._users = users
        self._lifetime = round(lifetime * 1e6)
        self._https = https
        self._origins = frozenset(origins)
        self._shelf = Shelf(values, "logins", Login, _MOST)
        self._fresh = Fresh(self._shelf.get, clock)
        self._swept = ""

    async def enter(self, user: User) -> str:
        """Returns the token of a new login."""
        await self._sweep()
        token, now = new_secret(), self._clock.now()
        login = Login(
            tenant=user.tenant,
            name=user.name,
            generation=user.generation,
            born=user.created_at,
            began_at=now,
            seen_at=now,
        )
        await self._shelf.put(hash_of(token), login, 0)
        return token

    async def log_in(self, tenant: TenantId, name: str, password: str) -> tuple[User, str] | None:
        """Returns a user and the token of a new login; None for a wrong name or password, which nothing tells apart."""
        user = await self._users.matches(tenant, name, password)
        return None if user is None else (user, await self.enter(user))

    async def leave(self, headers: Mapping[str, str]) -> bool:
        """Ends the login of a request; returns whether there was one."""
        token = self._token(headers)
        if not token:
            return False
        self._fresh.forget(hash_of(token))
        return await self._shelf.remove(hash_of(token))

    def check_page(self, method: str, headers: Mapping[str, str]) -> None:
        """Ends quietly where a page of ours, or no page, made a request that shows no cookie yet, such as a login.

        Raises:
            Refused: a page of somebody else made it.
        """
        if "origin" in headers and changes(method, headers):
            check_origin(headers, self._origins)

    async def recognise(self, asked: Asked) -> Principal | None:
        """Returns for whom the login of a request speaks; None where there is none, or it is over.

        Raises:
            Refused: somebody else's page uses it.
        """
        token = self._token(asked.headers)
        if not token:
            return None
        name = hash_of(token)
        held = await self._fresh.get(name)
        if held is None:
            return None
        login, now = held.record, self._clock.now()
        user = await self._users.known(login.tenant, login.name)
        if user is None or (user.generation, user.created_at) != (login.generation, login.born):
            return None
        if now - login.seen_at >= self._lifetime:
            return None
        if changes(asked.method, asked.headers):
            check_origin(asked.headers, self._origins)
        if now - login.seen_at >= self._lifetime // _NOTED:
            await self._shelf.put(name, msgspec.structs.replace(login, seen_at=now), held.version)
            self._fresh.forget(name)
        return user.principal(name[:16])

    def cookie(self, token: str, headers: Mapping[str, str]) -> str:
        """Returns the `set-cookie` that hands a token to the browser that made a request."""
        return self._cookie(token, headers, self._lifetime // 1_000_000)

    def no_cookie(self, headers: Mapping[str, str]) -> tuple[str, ...]:
        """Returns the `set-cookie` headers that take a token from a browser again."""
        secure = f"{SECURE_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
        plain = f"{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
        return (secure,) if self._secure(headers) else (plain,)

    def _cookie(self, token: str, headers: Mapping[str, str], seconds: int) -> str:
        rest = f"={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax"
        return f"{SECURE_COOKIE}{rest}; Secure" if self._secure(headers) else f"{COOKIE}{rest}"

    def _secure(self, headers: Mapping[str, str]) -> bool:
        return is_https(headers) if self._https is None else self._https

    def _token(self, headers: Mapping[str, str]) -> str:
        token = cookie_of(headers, SECURE_COOKIE)
        if not token and not self._https:  # another host of the same site can set the plain one, and not the other
            token = cookie_of(headers, COOKIE)
        return token if len(token) <= LONGEST else ""

    async def _sweep(self) -> None:
        """Removes a few logins that are over: about as many as come."""
        names = await self._shelf.names(after=self._swept, limit=_SWEPT)
        self._swept = names[-1][0] if len(names) == _SWEPT else ""
        gone = self._clock.now() - self._lifetime - self._lifetime // _NOTED
        for name, at in names:
            if at < gone:
                await self._shelf.remove(name)
