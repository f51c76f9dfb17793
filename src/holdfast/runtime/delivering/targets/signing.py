"""Signatures by which an endpoint knows that a delivery comes from here, and is no older than it looks.

Source: Standard Webhooks 1.0 (symmetric): `webhook-id`, `webhook-timestamp` and `webhook-signature`, the last one of
`v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64, several with a space between while a secret is changed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import final

from holdfast.errors import UsageError
from holdfast.types import TenantId

__all__ = ("Secrets", "TenantSecrets", "headers_for", "read_secret")

Secrets = Sequence[str] | Callable[[TenantId], Sequence[str]]
"""The secrets an endpoint shares with us, the newest first: each signs. Or what gives those of a tenant."""
_PREFIX = "whsec_"
_LEAST, _MOST = 24, 64
"""Bytes of a secret."""
_SALT = b"holdfast webhook secret\0"


def read_secret(secret: str) -> bytes:
    """Returns the bytes of a secret, as `whsec_` and their base64 say them.

    Raises:
        UsageError: it is none; says nothing of what it is.
    """
    try:
        found = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not secret.startswith(_PREFIX) or not _LEAST <= len(found) <= _MOST:
        raise UsageError(
            f"a webhook's secret is `{_PREFIX}` and {_LEAST} to {_MOST} random bytes in base64, and this is none"
        )
    return found


def headers_for(secrets: Sequence[str], id: str, body: bytes, now: int) -> dict[str, str]:
    """Returns the headers that sign a body at a time, in seconds since 1970; none without a secret."""
    if not secrets:
        return {}
    signed = b"%s.%d.%s" % (id.encode(), now, body)
    signatures = [base64.b64encode(hmac.digest(read_secret(each), signed, hashlib.sha256)).decode() for each in secrets]
    return {
        "webhook-id": id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }


@final
class TenantSecrets:
    """Secrets for endpoints that tenants name: each tenant's follow from the server's, and tell nothing of others'."""

    def __init__(self, *secrets: str) -> None:
        """Takes the server's own secrets, the newest first.

        Raises:
            UsageError: one of them is none.
        """
        self._secrets = tuple(read_secret(each) for each in secrets)

    def __call__(self, tenant: TenantId) -> tuple[str, ...]:
        """Returns the secrets of a tenant, the newest first."""
        drawn = (hmac.digest(each, _SALT + tenant.encode(), hashlib.sha256) for each in self._secrets)
        return tuple(_PREFIX + base64.b64encode(each).decode() for each in drawn)
