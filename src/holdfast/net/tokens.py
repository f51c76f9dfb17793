"""Tokens of OAuth 2 client credentials: fetched once, shared, renewed before they end or when a server refuses one.

Source: RFC 6749, 4.4. Many who need a token at once cause one request, and share what it came to, a failure too. One
is fetched anew when less than `EARLY` of its time is left, when the client's secret is no more the one it was fetched
with, and when a server refused the very one that is held; whoever was refused with an older one gets the newer one
without a request.

Not here: other grants; secrets on disk; what a failure means to whoever wanted the token.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Final, Literal, final
from urllib.parse import quote, urlencode

import msgspec

from holdfast.errors import NetError
from holdfast.flow.clock import Clock
from holdfast.flow.interrupting import Interruptible
from holdfast.net.client import HttpClient

__all__ = ("EARLY", "LONGEST", "Grant", "TokenFailure", "Tokens", "spellings")

EARLY: Final = 60.0
"""Seconds before its end in which a token is not used any more; half its life where that is shorter."""
LONGEST: Final = 30.0
"""Seconds that a token server gets for its whole answer."""
_UNSAID: Final = 300.0
"""Seconds that a token is used whose server does not say how long it holds."""
_LARGEST: Final = 64 * 1024


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a token server wants to know, but for the secret."""

    token_url: str
    client_id: str
    scope: str = ""
    audience: str = ""
    send: Literal["basic", "body"] = "basic"
    """Where the client's id and secret stand: in the authorization, or in the body."""


class TokenFailure(Exception):
    """There is no token: the server answered with an error (`refused`), with none (`empty`), not in time (`silent`), or
    could not be reached (`unreached`).
    """

    def __init__(
        self,
        kind: Literal["refused", "empty", "silent", "unreached"],
        *,
        status: int = 0,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        error: NetError | None = None,
    ) -> None:
        super().__init__(kind)
        self.kind: Final = kind
        self.status = status
        self.headers = dict(headers or {})
        self.body = body
        self.error = error

    def again(self) -> TokenFailure:
        """Returns the same for somebody else: one that is raised twice would carry both stacks."""
        return TokenFailure(self.kind, status=self.status, headers=self.headers, body=self.body, error=self.error)


class _Answer(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float | str | None = None


@final
class Tokens:
    """The tokens of one client."""

    def __init__(self, grant: Grant, client: HttpClient, clock: Clock) -> None:
        self._grant = grant
        self._client = client
        self._clock = clock
        self.last = ""
        """The newest token, which may have ended."""
        self._until = 0.0
        self._shown = ""
        """The secret for which the token was given."""
        self._fetching = asyncio.Lock()
        self._fetched = 0
        """How often somebody asked the server to the end."""
        self._failure: TokenFailure | None = None
        """What the last of these came to, where it was no token."""

    async def token(self, secret: str, *, refused: str = "") -> str:
        """Returns a token that holds, was given for this secret, and is not the `refused` one.

        Raises:
            TokenFailure: there is none.
        """
        if self._holds(secret, refused):
            return self.last
        known = self._fetched
        async with self._fetching:
            if not self._holds(secret, refused):  # somebody may have fetched it meanwhile, or have failed to
                if self._fetched != known and self._failure is not None:
                    raise self._failure.again()
                await self._fetch(secret)
            return self.last

    def _holds(self, secret: str, refused: str) -> bool:
        if not self.last or self.last == refused or self._clock.monotonic() >= self._until:
            return False
        return secret == self._shown

    async def _fetch(self, secret: str) -> None:
        self._failure = None
        try:
            status, headers, body = await self._exchange(secret)
            if not 200 <= status < 300:
                raise TokenFailure("refused", status=status, headers=headers, body=body)
            self._take(body)
            self._shown = secret
        except TokenFailure as failure:
            self._failure = failure
            raise
        finally:
            self._fetched += 1

    async def _exchange(self, secret: str) -> tuple[int, dict[str, str], bytes]:
        body, headers = _request(self._grant, secret)
        data = bytearray()
        try:
            with Interruptible(self._clock, LONGEST) as scope:
                async with self._client.post(self._grant.token_url, body, headers) as answer:
                    async for piece in answer:
                        data += piece
                        if len(data) > _LARGEST:
                            break
                    known = {name.lower(): each for name, each in answer.headers.items()}
                    return answer.status, known, bytes(data[: _LARGEST + 1])
        except NetError as error:
            raise TokenFailure("unreached", error=error) from error
        assert scope.interrupted
        raise TokenFailure("silent")

    def _take(self, body: bytes) -> None:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
            life = _UNSAID if answer.expires_in is None else float(answer.expires_in)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            answer, life = _Answer(""), 0.0
        token = answer.access_token
        if not token or not (token.isascii() and token.isprintable()):
            raise TokenFailure("empty")
        self.last = token
        # A life that is none, such as nan, is over at once: the next request asks for another.
        self._until = self._clock.monotonic() + (max(life - EARLY, life / 2) if life > 0 else 0.0)


def spellings(grant: Grant, secret: str) -> tuple[str, ...]:
    """Returns the secret in every form in which a server may repeat it."""
    return secret, quote(secret, safe=""), urlencode({"": secret})[1:], _basic(grant, secret)


def _request(grant: Grant, secret: str) -> tuple[bytes, dict[str, str]]:
    fields = {"grant_type": "client_credentials"}
    fields |= {name: value for name, value in (("scope", grant.scope), ("audience", grant.audience)) if value}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if grant.send == "basic":
        headers["Authorization"] = f"Basic {_basic(grant, secret)}"
    else:
        fields |= {"client_id": grant.client_id, "client_secret": secret}
    return urlencode(fields).encode(), headers


def _basic(grant: Grant, secret: str) -> str:
    pair = f"{quote(grant.client_id, safe='')}:{quote(secret, safe='')}"  # RFC 6749, 2.3.1
    return base64.b64encode(pair.encode()).decode()
