"""What the transports over HTTP do alike: a request that passes the guard, and an answer that is read to a bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from holdfast.errors import AddressBlocked, NetError, NetTimeout, NotConnected, RequestRefused, UsageError
from holdfast.net.client import HttpClient
from holdfast.net.hops import checked_url
from holdfast.net.settings import NetSettings
from holdfast.safety.addresses import AddressPolicy
from holdfast.tools.binding import ToolFailure
from holdfast.tools.contract.taxonomy import fault_of
from holdfast.tools.transports.port import Unsent, too_large
from holdfast.types import ToolError, ToolResult

__all__ = ("JSON", "Reply", "Sender", "address_of", "refused")

JSON: Final = {"Content-Type": "application/json", "Accept": "application/json"}
_ANY = 1 << 62
"""Bytes of an answer, as far as the client goes: each tool has a bound of its own, and is told so in its words."""
_SHOWN = 400
"""Characters of a body that an error shows."""
_TRANSIENT = (408, 425, 429)
_AUTH: Final[Mapping[int, str]] = {401: "auth_invalid", 403: "auth_forbidden"}


class Reply(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    body: bytes
    whole: bool = True
    """Whether the body is all of it; otherwise it was more than is read, and there is none of it here."""


class Sender:
    """Requests of one tool; the connections are its own, under the policy that it was declared with."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._client = HttpClient(policy, NetSettings(body_limit=_ANY))

    async def send(
        self,
        name: str,
        method: Literal["GET", "POST"],
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        most: int,
    ) -> Reply:
        """Returns the answer, whatever its status; no redirect is followed, since it would carry the credentials along.

        Raises:
            Unsent: it was not sent.
            ToolFailure: it was, or may have been, and no whole answer came.
        """
        try:
            async with self._client.request(method, url, body, headers) as exchange:
                data = bytearray()
                async for piece in exchange:
                    data += piece
                    if len(data) > most:
                        return Reply(exchange.status, b"", whole=False)
                return Reply(exchange.status, bytes(data))
        except (NotConnected, AddressBlocked, RequestRefused) as error:
            denied = isinstance(error, AddressBlocked)
            code = "permission_denied" if denied else "execution_failed"
            advice = " (an address of your own network: declare the tool with private=True)" if denied else ""
            raise Unsent(ToolResult(f"{name!r} was not reached: {error}{advice}", fault_of(code))) from error
        except NetTimeout as error:
            raise ToolFailure(f"{name!r} did not answer: {error}", code="timeout") from error
        except NetError as error:
            raise ToolFailure(f"{name!r} gave no whole answer: {error}") from error

    async def close(self) -> None:
        """Lets go of the connections that are kept."""
        await self._client.close()


def address_of(url: str) -> str:
    """Returns the address of a tool, as it was declared.

    Raises:
        UsageError: it is none that a request is sent to; says what to write.
    """
    try:
        checked_url(url)
    except RequestRefused as error:
        raise UsageError(f"a tool cannot be called there: {error}") from None
    return url


def refused(name: str, reply: Reply, most: int, hide: Callable[[str], str] = str) -> ToolResult | None:
    """Returns what an answer comes to that is too large, or has the status of an error; None for any other. `hide`
    takes the secrets out of its text.
    """
    status = reply.status
    if 200 <= status < 300:
        return None if reply.whole else too_large(name, most)
    words = " ".join(hide(reply.body.decode("utf-8", "replace"))[: 4 * _SHOWN].split())[:_SHOWN]
    retryable = status in _TRANSIENT or status >= 500
    error: ToolError = fault_of(_AUTH.get(status, "execution_failed"), retryable=retryable)
    return ToolResult(
        f"{name!r} failed: HTTP status {status}{f': {words}' if words else ''}", error, {"http_status": status}
    )
