"""The profiles of authentication, as a tool is declared with one (source: Orloj 3.8). They hold names of secrets, no
values.
"""

from __future__ import annotations

import msgspec

from holdfast.errors import UsageError
from holdfast.safety.secrets.port import reference_of

__all__ = ("ApiKeyHeader", "Auth", "Basic", "Bearer", "OAuth2")


class Bearer(msgspec.Struct, frozen=True, kw_only=True, tag_field="profile", tag="bearer"):
    """Sends `Authorization: Bearer <value>`."""

    secret: str

    def __post_init__(self) -> None:
        reference_of(self.secret)


class ApiKeyHeader(msgspec.Struct, frozen=True, kw_only=True, tag_field="profile", tag="api_key_header"):
    """Sends the value in a header of its own."""

    secret: str
    header: str = "X-Api-Key"

    def __post_init__(self) -> None:
        reference_of(self.secret)


class Basic(msgspec.Struct, frozen=True, kw_only=True, tag_field="profile", tag="basic"):
    """Sends `Authorization: Basic`; the value is `user:password`."""

    secret: str

    def __post_init__(self) -> None:
        reference_of(self.secret)


class OAuth2(msgspec.Struct, frozen=True, kw_only=True, tag_field="profile", tag="oauth2_client_credentials"):
    """Sends a token that a token server gives for the values `<secret>:client_id` and `<secret>:client_secret`."""

    secret: str
    token_url: str
    scopes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        reference_of(self.secret)
        if not self.token_url.startswith(("https://", "http://")):
            raise UsageError(f"{self.token_url!r} is no address of a token server: it begins with https://")


Auth = Bearer | ApiKeyHeader | Basic | OAuth2
