"""From a profile to the headers of one request, when it is sent and not before.

A value is looked up for each request, so that a new one counts from the next call on. Where the other side refused it
(401), it is looked up again, or a token fetched anew, and the request is sent once more where that brought another one:
what is refused was not begun, so this is no second attempt.
"""

from __future__ import annotations

import base64
from typing import final

import msgspec

from holdfast.errors import HoldfastError
from holdfast.flow.clock import Clock
from holdfast.models.access.headers import checked_header
from holdfast.net.client import HttpClient
from holdfast.net.tokens import Grant, TokenFailure, Tokens
from holdfast.safety.secrets.chain import Secrets
from holdfast.safety.secrets.port import reference_of
from holdfast.tools.access.profiles import ApiKeyHeader, Auth, Basic, Bearer, OAuth2
from holdfast.tools.binding import ToolFailure

__all__ = ("Authenticator", "Credential")


class Credential(msgspec.Struct, frozen=True, gc=False):
    """What one request is authenticated with."""

    header: str
    value: str

    def __repr__(self) -> str:
        return f"Credential({self.header})"


@final
class Authenticator:
    """Authenticates the requests of one tool."""

    def __init__(self, tool: str, auth: Auth, client: HttpClient, clock: Clock) -> None:
        self._tool = tool
        self._auth = auth
        self._client = client
        self._clock = clock
        self._tokens: dict[str, Tokens] = {}
        """By the client's id."""

    async def credential(self, secrets: Secrets, *, refused: Credential | None = None) -> Credential | None:
        """Returns what to send; None when that would be the `refused` one once more.

        Raises:
            ToolFailure: nobody knows the secret, it cannot be sent, or the token server gives no token.
        """
        try:
            found = await self._found(secrets, refused)
        except TokenFailure as failure:
            raise self._failed(failure) from None
        except HoldfastError as error:
            raise ToolFailure(f"{self._tool!r} was not called: {error}", code="secret_resolution_failed") from None
        return None if found == refused else found

    async def close(self) -> None:
        """Closes the connections to its token server in the running event loop."""
        await self._client.close()

    async def _found(self, secrets: Secrets, refused: Credential | None) -> Credential:
        match self._auth:
            case Bearer(secret=secret):
                return _sendable("Authorization", f"Bearer {await secrets.value(secret)}")
            case ApiKeyHeader(secret=secret, header=header):
                return _sendable(header, await secrets.value(secret))
            case Basic(secret=secret):
                pair = await secrets.value(secret)
                if ":" not in pair:
                    raise ToolFailure(
                        f"{self._tool!r} was not called: the secret {secret!r} is not of the form user:password",
                        code="secret_resolution_failed",
                    )
                secrets.redactor.learn(pair.partition(":")[2])  # who refuses it may repeat it without the name
                return Credential("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
            case OAuth2() as auth:
                return _sendable("Authorization", f"Bearer {await self._token(auth, secrets, refused)}")

    async def _token(self, auth: OAuth2, secrets: Secrets, refused: Credential | None) -> str:
        reference = reference_of(auth.secret)
        client_id = await secrets.value(reference.part("client_id"))
        secret = await secrets.value(reference.part("client_secret"))
        tokens = self._tokens.get(client_id)
        if tokens is None:
            grant = Grant(token_url=auth.token_url, client_id=client_id, scope=" ".join(auth.scopes), send="body")
            self._tokens = {client_id: (tokens := Tokens(grant, self._client, self._clock))}
        known = "" if refused is None else refused.value.removeprefix("Bearer ")
        token = await tokens.token(secret, refused=known)
        secrets.redactor.learn(token)
        return token

    def _failed(self, failure: TokenFailure) -> ToolFailure:
        why = {
            "refused": f"the token server refused the client (HTTP {failure.status})",
            "empty": "the token server gave no token",
            "silent": "the token server did not answer in time",
            "unreached": f"the token server was not reached: {failure.error}",
        }[failure.kind]
        transient = failure.kind in ("silent", "unreached") or failure.status >= 500 or failure.status in (408, 429)
        code = "execution_failed" if transient else "auth_invalid"
        check = f"check its token_url and the secret {self._auth.secret!r}"
        return ToolFailure(f"{self._tool!r} was not called: {why}; {check}", code=code)


def _sendable(header: str, value: str) -> Credential:
    checked_header(header, value, credentials=True)
    return Credential(header, value)
