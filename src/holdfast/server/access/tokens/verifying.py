"""From a signed token to a principal.

What a token says of itself decides nothing but where to look: which of the configured issuers it claims to be from,
and by which name it calls its key. Which algorithms there may be is configured, the type of the key has to be that of
the algorithm, and where keys are fetched never comes out of a token (`jku`, `x5u` and `jwk` are not read). A token is
looked at only as far as it is short and flat.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final, TypeVar, final

import jwt
import msgspec

from holdfast.errors import UsageError
from holdfast.flow.clock import Clock
from holdfast.net.client import HttpClient
from holdfast.net.settings import NetSettings
from holdfast.safety.addresses import PUBLIC
from holdfast.server.access.credentials import LONGEST
from holdfast.server.access.naming import check_tenant, user_of
from holdfast.server.access.principal import ROLES, Principal, Role, Scope
from holdfast.server.access.tokens.issuer import FAMILIES, Issuer, claim_at, texts_at
from holdfast.server.access.tokens.signing import SigningKeys
from holdfast.server.problems import Refused

__all__ = ("Tokens", "looks_signed")

_SIGNING: Final = NetSettings(connections=4, silence_timeout=10.0, body_limit=512 * 1024)
_LONGEST_NAME: Final = 256
_MOST_AGENTS: Final = 200


_Read = TypeVar("_Read")


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str | None = None
    crit: msgspec.Raw | None = None


class _Claimed(msgspec.Struct, frozen=True):
    iss: str


def looks_signed(text: str) -> bool:
    """Whether something is written like a signed token: three parts, the first of which begins a JSON object."""
    return text.startswith("ey") and text.count(".") == 2


@final
class Tokens:
    """The tokens of all issuers that are configured."""

    def __init__(self, issuers: Sequence[Issuer], clock: Clock) -> None:
        """Raises:
        UsageError: two issuers are the same, or a range is none.
        """
        self._clock = clock
        self._issuers: dict[str, tuple[Issuer, SigningKeys]] = {}
        self._clients: list[HttpClient] = []
        for each in issuers:
            if each.issuer in self._issuers:
                raise UsageError(f"the issuer {each.issuer!r} is configured twice: write it once")
            client = HttpClient(PUBLIC.opening(each.allowed_ranges), _SIGNING)
            self._clients.append(client)
            self._issuers[each.issuer] = each, SigningKeys(each, client, clock)

    def keys_of(self, issuer: str) -> SigningKeys:
        """Returns the keys of an issuer, to see how it does."""
        return self._issuers[issuer][1]

    async def recognise(self, text: str) -> Principal | None:
        """Returns for whom a token speaks; None for what none of the issuers has signed.

        Raises:
            Refused: one of them has, and it holds no more, or not yet, or not here; or its keys are not to be had.
        """
        if len(text) > LONGEST or not looks_signed(text):
            return None
        first, second, _ = text.split(".")
        header, claimed = _part(first, _Header), _part(second, _Claimed)
        known = None if claimed is None else self._issuers.get(claimed.iss)
        if header is None or known is None or header.crit is not None:
            return None
        issuer, keys = known
        if header.alg not in issuer.algorithms or (header.kid is not None and not 0 < len(header.kid) <= _LONGEST_NAME):
            return None
        found = await keys.of(header.kid, FAMILIES[header.alg], header.alg)
        claims = None if found is None else self._verify(text, found, header.alg, issuer)
        return None if claims is None else _principal(claims, issuer)

    async def close(self) -> None:
        """Lets go of connections."""
        for _, keys in self._issuers.values():
            await keys.close()
        for client in self._clients:
            await client.close()

    def _verify(self, text: str, key: dict[str, Any], algorithm: str, issuer: Issuer) -> dict[str, Any] | None:
        options: Any = {
            "require": ["exp", "iss", "aud"],
            "verify_exp": False,  # by the house's clock, below
            "verify_nbf": False,
            "verify_iat": False,
        }
        try:
            claims: dict[str, Any] = jwt.decode(
                text,
                jwt.PyJWK(key, algorithm),
                algorithms=[algorithm],
                audience=[issuer.audience] if isinstance(issuer.audience, str) else list(issuer.audience),
                issuer=issuer.issuer,
                options=options,
            )
        except jwt.InvalidAudienceError as error:
            raise _not_good("it is for somebody else (aud)") from error
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None
        now = self._clock.now() / 1e6
        if not _number(claims["exp"]) or claims["exp"] + issuer.leeway <= now:
            raise _not_good("it has expired (exp)")
        for name in ("nbf", "iat"):
            if name in claims and (not _number(claims[name]) or claims[name] - issuer.leeway > now):
                raise _not_good(f"it is not good yet ({name})")
        return claims


def _principal(claims: dict[str, Any], issuer: Issuer) -> Principal:
    subject = claim_at(claims, issuer.user_claim)
    tenant = issuer.tenant or claim_at(claims, issuer.tenant_claim)
    if not isinstance(subject, str) or not subject or not isinstance(tenant, str) or not issuer.may_name(tenant):
        raise Refused(403, "token_unmapped", "this token is good, and says of nobody who may be here: ask its issuer")
    try:
        user, owner = user_of(issuer.user_prefix + subject), check_tenant(tenant)
    except (UsageError, UnicodeError):
        raise Refused(403, "token_unmapped", "this token is good, and its user or tenant has no usable name") from None
    roles: set[Role] = {issuer.roles[each] for each in texts_at(claims, issuer.roles_claim) if each in issuer.roles}
    if not roles and issuer.default_role is not None:
        roles = {issuer.default_role}
    scopes: frozenset[Scope] = frozenset(scope for role in roles for scope in ROLES[role])
    named = claims.get("jti")
    return Principal(
        tenant=owner,
        user=user,
        scopes=scopes,
        how="token",
        id=named[:64] if isinstance(named, str) else "",
        agents=texts_at(claims, issuer.agents_claim)[:_MOST_AGENTS] if issuer.agents_claim else None,
        lane=issuer.lane,
        rates=issuer.rates,
    )


def _part(text: str, kind: type[_Read]) -> _Read | None:
    """Returns a part of a token as far as it is looked at before anybody vouches for it; None where it cannot be."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return msgspec.json.decode(data, type=kind)
    except (binascii.Error, ValueError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def _not_good(why: str) -> Refused:
    return Refused(
        401,
        "token_not_good",
        f"this token is not good: {why}",
        headers={"www-authenticate": 'Bearer realm="holdfast", error="invalid_token"'},
    )
