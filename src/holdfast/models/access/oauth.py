"""Keys of models that are tokens of OAuth 2 client credentials: what is said where there is none.

Not here: how a token is fetched, shared and renewed (`net/tokens.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal, final

import msgspec

from holdfast.errors import AuthFailed, ModelError, ModelTimeout
from holdfast.flow.clock import Clock
from holdfast.models.failures import Origin, excerpt, failure_from, failure_of
from holdfast.net import tokens
from holdfast.net.client import HttpClient
from holdfast.net.tokens import LONGEST, Grant, TokenFailure, spellings

__all__ = ("ClientCredentials", "Tokens")

_TRANSIENT: Final = (408, 429)


class ClientCredentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a token server wants to know."""

    token_url: Annotated[str, msgspec.Meta(pattern=r"^https?://")]
    client_id: Annotated[str, msgspec.Meta(min_length=1)]
    secret_variable: Annotated[str, msgspec.Meta(min_length=1)]
    """The variable of the environment that holds the client's secret."""
    scope: str = ""
    audience: str = ""
    send: Literal["basic", "body"] = "basic"
    """Where the client's id and secret stand: in the authorization, or in the body."""


@final
class Tokens:
    """The tokens of one client."""

    def __init__(
        self, credentials: ClientCredentials, secret: Callable[[], str], client: HttpClient, clock: Clock
    ) -> None:
        self._credentials = credentials
        self._secret = secret
        given = credentials
        self._grant = Grant(
            token_url=given.token_url,
            client_id=given.client_id,
            scope=given.scope,
            audience=given.audience,
            send=given.send,
        )
        self._tokens = tokens.Tokens(self._grant, client, clock)

    async def token(self, origin: Origin, *, refused: str = "") -> str:
        """Returns a token that holds, and is not the `refused` one.

        Raises:
            AuthFailed: the token server does not accept the client, or gave no token.
            ModelError: it failed, or cannot be reached.
        """
        secret = self._secret()
        if not secret or not (secret.isascii() and secret.isprintable()):
            raise AuthFailed(_no_secret(self._credentials, origin, secret))
        try:
            return await self._tokens.token(secret, refused=refused)
        except TokenFailure as failure:
            raise self._error(origin, secret, failure) from failure

    def _error(self, origin: Origin, secret: str, failure: TokenFailure) -> ModelError:
        given = self._credentials
        shown = msgspec.structs.replace(
            origin,
            url=given.token_url,
            key_variable=given.secret_variable,
            url_variable="token_url",
            others=(*origin.others, *spellings(self._grant, secret), self._tokens.last),
        )
        match failure.kind:
            case "unreached":
                assert failure.error is not None
                return failure_from(shown, failure.error)
            case "silent":
                return ModelTimeout(
                    f"{origin.name!r}: the token server at {given.token_url!r} did not answer within {LONGEST:.0f} s; "
                    "try again, and look at that server if it happens often"
                )
            case "empty":
                return AuthFailed(
                    f"the token server at {given.token_url!r} gave no token; check token_url, and what the client "
                    f"{given.client_id!r} may ask for"
                )
            case "refused":
                if failure.status in _TRANSIENT or failure.status >= 500:
                    return failure_of(shown, failure.status, failure.headers, failure.body)
                return AuthFailed(_refusal(given, shown, failure.status, failure.body), status=failure.status)


def _no_secret(given: ClientCredentials, origin: Origin, secret: str) -> str:
    if secret:
        return (
            f"the secret of the client {given.client_id!r} holds characters that no secret has; set "
            f"{given.secret_variable} to the secret alone"
        )
    return (
        f"{origin.name!r} needs the secret of the client {given.client_id!r} and there is none; set "
        f"{given.secret_variable}"
    )


def _refusal(given: ClientCredentials, origin: Origin, status: int, body: bytes) -> str:
    who, where = f"the client {given.client_id!r}", repr(given.token_url)
    if status in (400, 401, 403):
        what = f"the token server at {where} does not accept {who}"
        step = f"check client_id, scope and {given.secret_variable}"
    else:
        what, step = f"the token server at {where} gives no tokens", "check token_url"
    said = origin.clean(excerpt(body))
    return f"{origin.name!r}: {what} (HTTP {status}){f': {said}' if said else ''}; {step}"
