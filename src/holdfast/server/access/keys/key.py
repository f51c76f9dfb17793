"""A key, as it is kept: whose it is, what it may, until when, and the hashes of its secrets."""

from __future__ import annotations

from typing import Final

import msgspec

from holdfast.server.access.credentials import hash_of, same
from holdfast.server.access.principal import ROLES, Lane, Principal, Rates, Role, Scope
from holdfast.types import TenantId

__all__ = ("PREFIX", "Key", "KeySecret", "Wish", "compare_with_nothing", "parse_key")

PREFIX: Final = "hf_"
_ID_DIGITS: Final = 16
_SECRET: Final = 43
"""Characters of 256 bits in base64."""
_HEX: Final = frozenset("0123456789abcdef")
_NO_HASH: Final = hash_of("")
"""Is compared with where there is no key, so that it takes as long as where there is one."""


class KeySecret(msgspec.Struct, frozen=True, omit_defaults=True):
    """One secret of a key."""

    hash: str
    until: int | None = None
    """µs UTC; None as long as the key."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A key as somebody wants it."""

    tenant: TenantId
    user: str
    """In whose name it acts: whose sessions it starts, and whose account is charged."""
    name: str = ""
    """What it is for, for people."""
    role: Role | None = None
    scopes: tuple[Scope, ...] = ()
    """Beside those of the role."""
    agents: tuple[str, ...] | None = None
    lane: Lane = "interactive"
    rates: Rates = Rates()
    expires_at: int | None = None
    """µs UTC."""


class Key(Wish, frozen=True, kw_only=True, omit_defaults=True):
    """A key."""

    id: str
    secrets: tuple[KeySecret, ...]
    """The newest first."""
    created_at: int
    created_by: str = ""
    rotated_at: int | None = None
    revoked_at: int | None = None

    @property
    def all_scopes(self) -> frozenset[Scope]:
        """What it may, of its role and beside it."""
        return ROLES[self.role].union(self.scopes) if self.role else frozenset(self.scopes)

    def proven(self, secret: str, now: int) -> bool:
        """Whether this is one of its secrets, and one that is still good. It takes the same time for any secret."""
        given, good = hash_of(secret), False
        for each in self.secrets:
            matches = same(given, each.hash)
            good |= matches and (each.until is None or now < each.until)
        return good

    def state(self, now: int) -> str:
        """Returns `active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "active" if self.expires_at is None or now < self.expires_at else "expired"

    def principal(self) -> Principal:
        """Returns for whom it speaks."""
        return Principal(
            tenant=self.tenant,
            user=self.user,
            scopes=self.all_scopes,
            how="key",
            id=self.id,
            agents=self.agents,
            lane=self.lane,
            rates=self.rates,
        )


def parse_key(text: str) -> tuple[str, str] | None:
    """Returns the id and the secret of what is written like a key; None for anything else."""
    if not text.startswith(PREFIX):
        return None
    id_, mark, secret = text[len(PREFIX) :].partition("_")
    if not mark or len(id_) != _ID_DIGITS or not set(id_) <= _HEX or len(secret) != _SECRET or not secret.isascii():
        return None
    return id_, secret


def compare_with_nothing(secret: str) -> None:
    """Takes the time that it takes to find out whether a secret is that of a key."""
    same(hash_of(secret), _NO_HASH)
