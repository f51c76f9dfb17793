"""What somebody proves themselves with: how it is drawn, kept, found in a request, and compared.

A secret that we draw has 256 random bits. Of such a one a single SHA-256 is kept: it cannot be guessed, so that there
is nothing that a slow hash would slow down, and it is looked at in every request. What people make up is something
else: see `users/passwords.py`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Final

__all__ = ("LONGEST", "bearer_of", "cookie_of", "hash_of", "new_secret", "same")

LONGEST: Final = 8192
"""Characters of a key or token; what is longer is none, and is not looked at."""


def new_secret() -> str:
    """Returns 256 random bits, as text that fits into a header, a cookie and an address."""
    return secrets.token_urlsafe(32)


def hash_of(secret: str) -> str:
    """Returns what is kept of a secret, in hexadecimal digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def same(one: str, other: str) -> bool:
    """Whether two hashes are the same, in a time that does not say how far they are."""
    return hmac.compare_digest(one.encode(), other.encode())


def bearer_of(headers: Mapping[str, str]) -> str:
    """Returns the key or token of a request, as `Authorization: Bearer` or `X-Api-Key`; empty where there is none.

    What comes in an authorization goes before the other, which some clients of models send.
    """
    given = headers.get("authorization", "")
    if given:
        scheme, _, rest = given.partition(" ")
        return rest.strip() if scheme.lower() == "bearer" else ""
    return headers.get("x-api-key", "").strip()


def cookie_of(headers: Mapping[str, str], name: str) -> str:
    """Returns the value of a cookie, the first of that name; empty where there is none.

    Other cookies of the same host may be written in any way: they do not hide this one.
    """
    for each in headers.get("cookie", "").split(";"):
        found, _, value = each.strip().partition("=")
        if found == name:
            return value.strip('"')
    return ""
