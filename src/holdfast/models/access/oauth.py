"""Tokens of OAuth 2 client credentials: fetched once, shared, renewed before they end or when a server refuses one.

Source: RFC 6749, 4.4. Many runs that need a token at once cause one request, and share what it came to, a failure
too. A token is fetched anew when less than `EARLY` of its time is left, when the client's secret is no more the one it
was fetched with, and when a server refused the very one that is held; whoever was refused with an older one gets the
newer one without a request.

Not here: other grants; secrets on disk.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Annotated, Final, Literal, final
from urllib.parse import quote, urlencode

import msgspec

from holdfast.errors import AuthFailed, ModelError, ModelTimeout, NetError
from holdfast.flow.clock import Clock
from holdfast.flow.interrupting import Interruptible
from holdfast.models.failures import Origin, excerpt, failure_from, failure_of
from holdfast.net.client import HttpClient

__all__ = ("EARLY", "ClientCredentials", "Tokens")

EARLY: Final = 60.0
"""Seconds before its end in which a token is not used any more; half its life where that is shorter."""
_UNSAID: Final = 300.0
"""Seconds that a token is used whose server does not say how long it holds."""
_LARGEST: Final = 64 * 1024
_LONGEST: Final = 30.0
"""Seconds that a token server gets for its whole answer."""
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


class _Answer(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float | str | None = None


@final
class Tokens:
    """The tokens of one client."""

    def __init__(
        self, credentials: ClientCredentials, secret: Callable[[], str], client: HttpClient, clock: Clock
    ) -> None:
        self._credentials = credentials
        self._secret = secret
        self._client = client
        self._clock = clock
        self._token = ""
        self._until = 0.0
        self._shown = ""
        """The secret for which the token was given."""
        self._fetching = asyncio.Lock()
        self._fetched = 0
        """How often somebody asked the server to the end."""
        self._failure: ModelError | None = None
        """What the last of these came to, where it was no token."""

    async def token(self, origin: Origin, *, refused: str = "") -> str:
        """Returns a token that holds, and is not the `refused` one.

        Raises:
            AuthFailed: the token server does not accept the client, or gave no token.
            ModelError: it failed, or cannot be reached.
        """
        if self._holds(refused):
            return self._token
        known = self._fetched
        async with self._fetching:
            if not self._holds(refused):  # somebody may have fetched it meanwhile, or have failed to
                if self._fetched != known and self._failure is not None:
                    raise _again(self._failure)
                await self._fetch(origin)
            return self._token

    def _holds(self, refused: str) -> bool:
        if not self._token or self._token == refused or self._clock.monotonic() >= self._until:
            return False
        return self._secret() == self._shown

    async def _fetch(self, origin: Origin) -> None:
        self._failure = None
        try:
            await self._ask(origin)
        except ModelError as error:
            self._failure = error
            raise
        finally:
            self._fetched += 1

    async def _ask(self, origin: Origin) -> None:
        given = self._credentials
        secret = self._secret()
        if not secret:
            raise AuthFailed(
                f"{origin.name!r} needs the secret of the client {given.client_id!r} and there is none; "
                f"set {given.secret_variable}"
            )
        if not (secret.isascii() and secret.isprintable()):
            raise AuthFailed(
                f"the secret of the client {given.client_id!r} holds characters that no secret has; "
                f"set {given.secret_variable} to the secret alone"
            )
        shown = msgspec.structs.replace(
            origin,
            url=given.token_url,
            key_variable=given.secret_variable,
            url_variable="token_url",
            others=(*origin.others, *_forms(given, secret), self._token),
        )
        status, headers, body = await self._exchange(shown, *_request(given, secret))
        if 200 <= status < 300:
            self._take(body)
            self._shown = secret
        elif status in _TRANSIENT or status >= 500:
            raise failure_of(shown, status, headers, body)
        else:
            raise AuthFailed(_refusal(given, shown, status, body), status=status)

    async def _exchange(
        self, origin: Origin, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        data = bytearray()
        try:
            with Interruptible(self._clock, _LONGEST) as scope:
                async with self._client.post(self._credentials.token_url, body, headers) as answer:
                    async for piece in answer:
                        data += piece
                        if len(data) > _LARGEST:
                            break
                    return answer.status, {name.lower(): each for name, each in answer.headers.items()}, bytes(data)
        except NetError as error:
            raise failure_from(origin, error) from error
        assert scope.interrupted
        raise ModelTimeout(
            f"{origin.name!r}: the token server at {self._credentials.token_url!r} did not answer within "
            f"{_LONGEST:.0f} s; try again, and look at that server if it happens often"
        )

    def _take(self, body: bytes) -> None:
        try:
            answer = msgspec.json.decode(body[: _LARGEST + 1], type=_Answer)
            life = _UNSAID if answer.expires_in is None else float(answer.expires_in)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            answer, life = _Answer(""), 0.0
        token = answer.access_token
        if not token or not (token.isascii() and token.isprintable()):
            raise AuthFailed(
                f"the token server at {self._credentials.token_url!r} gave no token; check token_url, and what the "
                f"client {self._credentials.client_id!r} may ask for"
            )
        self._token = token
        # A life that is none, such as nan, is over at once: the next request asks for another.
        self._until = self._clock.monotonic() + max(life - EARLY, life / 2, 0.0)


def _request(given: ClientCredentials, secret: str) -> tuple[bytes, dict[str, str]]:
    fields = {"grant_type": "client_credentials"}
    fields |= {name: value for name, value in (("scope", given.scope), ("audience", given.audience)) if value}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if given.send == "basic":
        headers["Authorization"] = f"Basic {_basic(given, secret)}"
    else:
        fields |= {"client_id": given.client_id, "client_secret": secret}
    return urlencode(fields).encode(), headers


def _basic(given: ClientCredentials, secret: str) -> str:
    pair = f"{quote(given.client_id, safe='')}:{quote(secret, safe='')}"  # RFC 6749, 2.3.1
    return base64.b64encode(pair.encode()).decode()


def _forms(given: ClientCredentials, secret: str) -> tuple[str, ...]:
    """Returns the secret in every form in which a server may repeat it."""
    return secret, quote(secret, safe=""), urlencode({"": secret})[1:], _basic(given, secret)


def _refusal(given: ClientCredentials, origin: Origin, status: int, body: bytes) -> str:
    who, where = f"the client {given.client_id!r}", repr(given.token_url)
    if status in (400, 401, 403):
        what = f"the token server at {where} does not accept {who}"
        step = f"check client_id, scope and {given.secret_variable}"
    else:
        what, step = f"the token server at {where} gives no tokens", "check token_url"
    said = origin.clean(excerpt(body[:_LARGEST]))
    return f"{origin.name!r}: {what} (HTTP {status}){f': {said}' if said else ''}; {step}"


def _again(error: ModelError) -> ModelError:
    """Returns the same error for somebody else: one that is raised twice would carry both stacks."""
    return type(error)(str(error), status=error.status, retry_after=error.retry_after)
