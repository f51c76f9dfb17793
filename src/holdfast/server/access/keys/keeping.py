"""All keys of a store: made, found, rotated, revoked.

A key lies under its id, and its id beside that under its tenant, so that a tenant's keys are listed without looking at
those of others. A key that is revoked stays known until somebody has it forgotten, so that it can be told what became
of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final, final

import msgspec

from holdfast.errors import UsageError
from holdfast.flow.clock import Clock
from holdfast.server.access.credentials import hash_of, new_secret
from holdfast.server.access.keys.key import PREFIX, Key, KeySecret, Wish, compare_with_nothing, parse_key
from holdfast.server.access.keys.using import Uses
from holdfast.server.access.naming import check_tenant, check_user
from holdfast.server.access.principal import Principal
from holdfast.server.access.shelf import Fresh, Held, Shelf
from holdfast.server.access.tenants import check_rates
from holdfast.server.problems import Refused
from holdfast.tools.keeping.port import KeyValues
from holdfast.types import TenantId

__all__ = ("GRACE", "LONGEST_GRACE", "Keys")

GRACE: Final = 3600.0
"""Seconds for which the secret before is good beside a new one, where nobody says anything else."""
LONGEST_GRACE: Final = 30 * 86_400.0
_MOST: Final = 100_000
_MOST_EACH: Final = 10_000
"""Keys of one tenant: nobody takes the places of others."""
_SECRETS: Final = 3
"""Secrets of one key at once: one that is rotated more often within a grace loses the oldest early."""
_TRIES: Final = 8
_PAGE: Final = 1000


_Change = Callable[[Key], Key]


class _Listed(msgspec.Struct, frozen=True):
    """That a tenant has a key."""


@final
class Keys:
    """The keys of a store."""

    def __init__(self, values: KeyValues, clock: Clock) -> None:
        self._values = values
        self._clock = clock
        self._shelf = Shelf(values, "keys", Key, _MOST)
        self._fresh = Fresh(self._shelf.get, clock)
        self.uses = Uses(values, clock)

    async def create(self, wish: Wish, by: str = "") -> tuple[Key, str]:
        """Returns a new key, and what is written of it this once.

        Raises:
            UsageError: its tenant or user cannot be called so, it may nothing, it has expired already, or its rates
                cannot be kept to.
            Refused: there are too many.
        """
        check_tenant(wish.tenant)
        check_user(wish.tenant, wish.user)
        now = self._clock.now()
        if wish.expires_at is not None and wish.expires_at <= now:
            raise UsageError("a key that has expired already is of no use: name a time that is to come")
        check_rates(wish.rates)
        if wish.rates.tokens is not None or wish.rates.dollars is not None:
            raise UsageError(
                "tokens and dollars are counted by user, not by key: cap the user's account (holdfast budget set)"
            )
        if wish.role is None and not wish.scopes:
            raise UsageError("a key that may nothing is of no use: give it a role, or scopes")
        secret = new_secret()
        kept = KeySecret(hash_of(secret))
        given = msgspec.structs.asdict(wish)
        key = Key(**given, id=secrets.token_hex(8), secrets=(kept,), created_at=now, created_by=by)
        await self._of(wish.tenant).put(key.id, _Listed())  # first: a key that is not listed could not be revoked
        if not await self._shelf.put(key.id, key, 0):
            raise Refused(409, "again", "somebody has made a key of the same name at the same time: ask again")
        return key, f"{PREFIX}{key.id}_{secret}"

    async def recognise(self, text: str) -> Principal | None:
        """Returns for whom a key speaks; None for what is no key of ours.

        Raises:
            Refused: it is one, and no longer good. Only who has the right secret hears so.
        """
        parsed = parse_key(text)
        if parsed is None:
            return None
        held = await self._fresh.get(parsed[0])
        if held is None:
            compare_with_nothing(parsed[1])
            return None
        key, now = held.record, self._clock.now()
        if not key.proven(parsed[1], now):
            return None
        if (state := key.state(now)) != "active":
            raise Refused(
                401,
                f"key_{state}",
                f"this key is {state}: have another one made",
                headers={"www-authenticate": 'Bearer realm="holdfast", error="invalid_token"'},
            )
        self.uses.note(key.id)
        return key.principal()

    async def get(self, tenant: TenantId, id_: str) -> Key | None:
        """Returns a key of a tenant; None where it has none of that id."""
        held = await self._held(tenant, id_)
        return None if held is None else held.record

    async def listed(self, tenant: TenantId, after: str = "", limit: int = 100) -> tuple[list[Key], str]:
        """Returns keys of a tenant in the order of their ids, and after which to go on; empty at the end."""
        names = await self._of(tenant).names(after=after, limit=limit)
        found = [key for name, _ in names if (key := await self.get(tenant, name)) is not None]
        return found, names[-1][0] if len(names) == limit else ""

    async def tenants(self) -> dict[str, int]:
        """Returns how many keys each tenant has. Reads all of them."""
        found: dict[str, int] = {}
        names = await self._shelf.names(limit=_PAGE)
        while names:
            for name, _ in names:
                held = await self._shelf.get(name)
                if held is not None:
                    found[held.record.tenant] = found.get(held.record.tenant, 0) + 1
            names = await self._shelf.names(after=names[-1][0], limit=_PAGE) if len(names) == _PAGE else []
        return found

    async def any(self) -> bool:
        """Whether there is a key."""
        return bool(await self._shelf.names(limit=1))

    async def rotate(self, tenant: TenantId, id_: str, grace: float = GRACE) -> tuple[Key, str] | None:
        """Returns a key with a new secret, and what is written of it this once. The secret before is good for `grace`
        seconds more.

        Raises:
            UsageError: the grace is longer than 30 days, or it cannot be meant.
            Refused: the key is revoked.
        """
        if not 0 <= grace <= LONGEST_GRACE:
            raise UsageError(f"a grace of {grace:g} seconds cannot be meant: name 0 to {LONGEST_GRACE:g}")
        secret = new_secret()

        def change(key: Key) -> Key:
            if key.revoked_at is not None:
                raise Refused(409, "key_revoked", "a key that is revoked stays so: have another one made")
            now = self._clock.now()
            until = now + round(grace * 1e6)
            before = [
                KeySecret(each.hash, until if each.until is None else min(until, each.until))
                for each in key.secrets
                if each.until is None or each.until > now
            ]
            return msgspec.structs.replace(
                key, secrets=(KeySecret(hash_of(secret)), *before)[:_SECRETS], rotated_at=now
            )

        changed = await self._change(tenant, id_, change)
        return None if changed is None else (changed, f"{PREFIX}{id_}_{secret}")

    async def revoke(self, tenant: TenantId, id_: str) -> Key | None:
        """Ends a key: at once in this process, in every other within a second. Returns it; None where there is none."""

        def change(key: Key) -> Key:
            if key.revoked_at is not None:
                return key
            return msgspec.structs.replace(key, revoked_at=self._clock.now())

        return await self._change(tenant, id_, change)

    async def forget(self, tenant: TenantId, id_: str) -> bool:
        """Removes a key with all that is known of it; returns whether there was one."""
        if await self.get(tenant, id_) is None:
            return False
        await self._shelf.remove(id_)
        self._fresh.forget(id_)
        await self._of(tenant).remove(id_)
        return True

    async def _change(self, tenant: TenantId, id_: str, change: _Change) -> Key | None:
        for _ in range(_TRIES):
            held = await self._held(tenant, id_)
            if held is None:
                return None
            new = change(held.record)
            if new is held.record:
                return new
            written = await self._shelf.put(id_, new, held.version)
            self._fresh.forget(id_)
            if written:
                return new
        raise Refused(409, "again", "others are changing this key at the same time: ask again")

    async def _held(self, tenant: TenantId, id_: str) -> Held[Key] | None:
        held = await self._shelf.get(id_)
        return held if held is not None and held.record.tenant == tenant else None

    def _of(self, tenant: TenantId) -> Shelf[_Listed]:
        return Shelf(self._values, f"keys of {tenant}", _Listed, _MOST_EACH)
