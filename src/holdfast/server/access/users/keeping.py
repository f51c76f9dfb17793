"""All users of a store who log in.

The last admin of a tenant cannot be removed or made something else. Two admins may try to remove each other at the
same time, in two processes; so admins are counted in a record of its own, which is changed only while it is as it was
read. Whoever stops being an admin leaves it before anything else, and nobody leaves it as the last. A process that dies
in between leaves an admin who is not counted, and never a count of admins who are none. Whoever is made an admin while
somebody else makes them something else, or removes them, is counted as what they came to be: both look again.
"""

from __future__ import annotations

from typing import Final, final

import msgspec

from holdfast.flow.clock import Clock
from holdfast.server.access.naming import HOME, check_login, check_tenant
from holdfast.server.access.principal import Role
from holdfast.server.access.shelf import Fresh, Held, Shelf
from holdfast.server.access.users.passwords import Passwords, check_password, new_password
from holdfast.server.access.users.user import Admins, Starting, User, place_of
from holdfast.server.problems import Refused
from holdfast.tools.keeping.port import KeyValues
from holdfast.types import TenantId

__all__ = ("Users",)

_MOST: Final = 100_000
_TRIES: Final = 8
_SETTING_UP: Final = 60_000_000
"""µs after which whoever began to make the first user is taken to have died."""


@final
class Users:
    """The users of a store."""

    def __init__(self, values: KeyValues, clock: Clock, passwords: Passwords) -> None:
        self._clock = clock
        self._passwords = passwords
        self._shelf = Shelf(values, "users", User, _MOST)
        self._admins = Shelf(values, "admins", Admins, _MOST)
        self._starting = Shelf(values, "setup", Starting, 1)
        self._fresh = Fresh(self._shelf.get, clock)

    async def any(self) -> bool:
        """Whether there is a user."""
        return bool(await self._shelf.names(limit=1))

    async def known(self, tenant: TenantId, name: str) -> User | None:
        """Returns a user as they were at most a second ago."""
        held = await self._fresh.get(place_of(tenant, name))
        return None if held is None else held.record

    async def get(self, tenant: TenantId, name: str) -> User | None:
        """Returns a user; None where there is none of that name."""
        held = await self._shelf.get(place_of(tenant, name))
        return None if held is None else held.record

    async def listed(self, tenant: TenantId, after: str = "", limit: int = 100) -> tuple[list[User], str]:
        """Returns users of a tenant by their names, and after which to go on; empty at the end."""
        start = place_of(tenant, "")
        names = await self._shelf.names(start, after=start + after if after else "", limit=limit)
        found = [held.record for name, _ in names if (held := await self._shelf.get(name)) is not None]
        return found, names[-1][0].removeprefix(start) if len(names) == limit else ""

    async def set_up(self, name: str, password: str) -> User:
        """Returns the first user, an admin of the server's own tenant.

        Raises:
            Refused: there is a user already, or somebody else is making the first one.
            UsageError: the name or the password cannot be one.
        """
        now = self._clock.now()
        held = await self._starting.get("first")
        busy = held is not None and now - held.record.at < _SETTING_UP
        if busy or not await self._starting.put("first", Starting(now), 0 if held is None else held.version):
            raise Refused(
                409, "setting_up", "somebody is making the first user now: see who", headers={"retry-after": "60"}
            )
        try:
            if await self.any():
                raise Refused(409, "set_up", "this server has users already: log in, or ask one of its admins")
            return await self.add(HOME, name, "admin", password)
        finally:
            await self._starting.remove("first")

    async def add(self, tenant: TenantId, name: str, role: Role, password: str, by: str = "") -> User:
        """Returns a new user.

        Raises:
            Refused: there is one of that name, or there are too many.
            UsageError: the name or the password cannot be one.
        """
        check_tenant(tenant)
        check_password(password, check_login(name))
        if await self.get(tenant, name) is not None:
            raise _taken(name)
        now = self._clock.now()
        kept = await self._passwords.hash(password)
        user = User(tenant=tenant, name=name, role=role, password=kept, created_at=now, created_by=by, changed_at=now)
        if not await self._shelf.put(place_of(tenant, name), user, 0):
            raise _taken(name)
        self._fresh.forget(place_of(tenant, name))
        if role == "admin":
            await self._count(tenant, name)
        return user

    async def set_role(self, tenant: TenantId, name: str, role: Role) -> User | None:
        """Returns a user with another role; None where there is none of that name.

        Raises:
            Refused: it is the last admin.
        """
        if await self.get(tenant, name) is None:
            return None
        if role != "admin":
            await self._discount(tenant, name)
        changed = await self._change(tenant, name, role=role)
        if changed is not None and role == "admin":
            await self._count(tenant, name)
        await self._see_whether_counted(tenant, name)
        return changed

    async def set_password(self, tenant: TenantId, name: str, password: str) -> User | None:
        """Returns a user with another password; all logins of theirs are over. None where there is none of that name.

        Raises:
            UsageError: it cannot be a password.
        """
        check_password(password, name)
        user = await self.get(tenant, name)
        if user is None:
            return None
        kept = await self._passwords.hash(password)
        return await self._change(tenant, name, password=kept)

    async def reset(self, tenant: TenantId, name: str) -> str | None:
        """Gives a user a password that is drawn, and returns it; all logins of theirs are over. None where there is
        none of that name.
        """
        password = new_password()
        return password if await self.set_password(tenant, name, password) else None

    async def remove(self, tenant: TenantId, name: str) -> bool:
        """Removes a user, whose logins are over; returns whether there was one.

        Raises:
            Refused: it is the last admin.
        """
        if await self.get(tenant, name) is None:
            return False
        await self._discount(tenant, name)
        removed = await self._shelf.remove(place_of(tenant, name))
        self._fresh.forget(place_of(tenant, name))
        await self._see_whether_counted(tenant, name)
        return removed

    async def matches(self, tenant: TenantId, name: str, password: str) -> User | None:
        """Returns the user of that name and password. It takes as long where there is none of that name."""
        held = await self._shelf.get(place_of(tenant, name))
        user = None if held is None else held.record
        good = await self._passwords.matches(password, None if user is None else user.password)
        return user if good else None

    async def _change(self, tenant: TenantId, name: str, role: Role | None = None, password: str = "") -> User | None:
        for _ in range(_TRIES):
            held = await self._shelf.get(place_of(tenant, name))
            if held is None:
                return None
            user = held.record
            if role is not None:
                user = msgspec.structs.replace(user, role=role)
            if password:
                user = msgspec.structs.replace(
                    user, password=password, generation=user.generation + 1, changed_at=self._clock.now()
                )
            written = await self._shelf.put(place_of(tenant, name), user, held.version)
            self._fresh.forget(place_of(tenant, name))
            if written:
                return user
        raise _again()

    async def _count(self, tenant: TenantId, name: str) -> None:
        """Counts somebody as an admin, who is one."""
        for _ in range(_TRIES):
            held, names = await self._counted(tenant)
            if name in names or await self._admins.put(tenant, Admins((*names, name)), held.version if held else 0):
                return
        raise _again()

    async def _discount(self, tenant: TenantId, name: str) -> None:
        """Counts somebody as an admin no more.

        Raises:
            Refused: there is no other.
        """
        for _ in range(_TRIES):
            held, names = await self._counted(tenant)
            rest = tuple(each for each in names if each != name)
            if len(rest) == len(names):
                return
            if not rest:
                raise Refused(
                    409,
                    "last_admin",
                    f"{name!r} is the last admin of {tenant!r}: make somebody else an admin before",
                )
            if await self._admins.put(tenant, Admins(rest), held.version if held else 0):
                return
        raise _again()

    async def _see_whether_counted(self, tenant: TenantId, name: str) -> None:
        """Takes somebody out of the count who is no admin: others may have counted them meanwhile."""
        for _ in range(_TRIES):
            user = await self.get(tenant, name)
            held, names = await self._counted(tenant)
            if held is None or name not in names or (user is not None and user.role == "admin"):
                return
            if await self._admins.put(tenant, Admins(tuple(each for each in names if each != name)), held.version):
                return
        raise _again()

    async def _counted(self, tenant: TenantId) -> tuple[Held[Admins] | None, tuple[str, ...]]:
        held = await self._admins.get(tenant)
        return held, () if held is None else held.record.names


def _taken(name: str) -> Refused:
    return Refused(409, "user_exists", f"there is a user {name!r} already: choose another name")


def _again() -> Refused:
    return Refused(409, "again", "others are changing this at the same time: ask again", headers={"retry-after": "1"})
