"""Requests to a server's routes, and whether it is there: the one place that knows its address and the key.

What is sent twice under one key is one thing to the server, so that what broke off on its way is sent once more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, final
from urllib.parse import quote, urlencode

import msgspec

from holdfast.cli.reaching.refusals import Problem, Refusal, no_server, read_problem, refusal, too_old, unreached
from holdfast.errors import ConnectionBroken, HoldfastError, NetError, NetTimeout, NotConnected
from holdfast.net.client import HttpClient
from holdfast.net.settings import NetSettings
from holdfast.safety.addresses import TRUSTED

if TYPE_CHECKING:
    from holdfast.net.exchange import Exchange

__all__ = ("Caller", "path_of")

T = TypeVar("T")

_OLDEST = (0, 1)
"""The first version whose server has these routes."""
_SILENCE = 60.0
"""Seconds: a stream says something every fifteen, and an answer is waited for up to fifty."""
_BODY = 256 * 1024 * 1024
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before a stream is asked for again, the last of them again and again."""


class _Version(msgspec.Struct, frozen=True):
    name: str
    version: str


def path_of(*parts: str) -> str:
    """Returns the path to a route of the sessions API, whatever is in its parts."""
    return "/v1/" + "/".join(quote(each, safe="") for each in parts)


@final
class Caller:
    """One server, as one person with one key reaches it."""

    def __init__(self, url: str, key: str = "", *, pause: Callable[[int], Awaitable[None]] | None = None) -> None:
        """`pause` waits before the so-manieth try, from 0."""
        self.url = url.rstrip("/")
        self.away = ""
        """Why nothing comes from it; empty while it answers, and before it ever did."""
        self.on_notice: Callable[[str], None] = lambda _: None
        self.pause = pause or _pause
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = HttpClient(TRUSTED, NetSettings(silence_timeout=_SILENCE, body_limit=2**62))

    async def greet(self) -> None:
        """Returns when a server answers that these commands can speak to.

        Raises:
            NetError: it is away, not believed, none, or too old.
        """
        status, body, _ = await self._sent("GET", "/version", None)
        try:
            found = msgspec.json.decode(body, type=_Version) if status == 200 else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = None
        if found is None or found.name != "holdfast":
            raise no_server(self.url)
        numbers = [int(each) for each in found.version.split(".")[:2] if each.isascii() and each.isdigit()]
        if tuple(numbers) < _OLDEST:
            raise too_old(self.url, found.version[:40], ".".join(map(str, _OLDEST)))

    async def get(self, kind: type[T], path: str, query: Mapping[str, Any] | None = None) -> T:
        """Returns what a route tells.

        Raises:
            HoldfastError: it does not; says what helps.
        """
        return self._decoded(kind, await self.ask("GET", path, query=query))

    async def post(self, kind: type[T], path: str, body: Mapping[str, Any]) -> T:
        """Returns what a route answers to something that is sent to it; under a `key`, once whatever breaks.

        Raises:
            HoldfastError: it was not taken; says what helps.
        """
        return self._decoded(kind, await self.ask("POST", path, body))

    async def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        again: bool = False,
    ) -> bytes:
        """Returns the body of an answer; `again` is whether it may be sent twice although it has no key of its own.

        Raises:
            HoldfastError: there is none, or it is not what was wanted.
        """
        query = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(query, doseq=True)}" if query else path
        data = None if body is None else msgspec.json.encode(body)
        status, found, later = await self._sent(method, target, data, again=again or bool(body and body.get("key")))
        if status < 300:
            return found
        raise self.refused(Refusal(status, read_problem(found), later))

    async def answer(self, path: str, body: Mapping[str, Any]) -> bytes | None:
        """Returns what is answered to somebody's answer; None where there was one before it.

        Raises:
            HoldfastError: it was not taken; says what helps.
        """
        status, found, later = await self._sent("POST", path, msgspec.json.encode(body))
        problem = Problem() if status < 300 else read_problem(found)
        if status < 300 or problem.code == "not_pending":
            return found if status < 300 else None
        raise self.refused(Refusal(status, problem, later))

    @asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, Any], last: int) -> AsyncGenerator[Exchange]:
        """Returns the pieces of a stream, from behind the event `last` on.

        Raises:
            HoldfastError: there is no such stream; a `NotConnected` may be there in a moment.
        """
        headers = {**self._headers, "accept": "text/event-stream", "last-event-id": str(last)}
        async with self._client.get(f"{self.url}{path}?{urlencode(query)}", headers) as answer:
            if answer.status != 200:
                problem = read_problem(await answer.body(1024 * 1024))
                raise self.refused(Refusal(answer.status, problem, answer.headers.get("retry-after", "")))
            self.found()
            yield answer

    def refused(self, answer: Refusal) -> HoldfastError:
        """Returns an answer that is not what was wanted as an error."""
        return refusal(self.url, answer, keyed=bool(self._headers))

    def lost(self, why: str) -> None:
        """Takes in that nothing comes from there; whoever wants to know is told once."""
        if not self.away:
            self.away = why
            self.on_notice(f"! {self.url} is away ({why}): what it does goes on there, and it is asked again and again")

    def found(self) -> None:
        """Takes in that it answers."""
        if self.away:
            self.away = ""
            self.on_notice(f"● {self.url} is back")

    async def close(self) -> None:
        """Closes what is open."""
        await self._client.close()

    async def _sent(self, method: str, path: str, body: bytes | None, *, again: bool = False) -> tuple[int, bytes, str]:
        try:
            return await self._tried(method, path, body)
        except NotConnected as error:
            raise unreached(self.url, error) from None
        except (ConnectionBroken, NetTimeout) as error:
            if not again:
                raise unreached(self.url, error) from None
        except NetError as error:
            raise unreached(self.url, error) from None
        try:
            return await self._tried(method, path, body)
        except NetError as error:
            raise unreached(self.url, error) from None

    async def _tried(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes, str]:
        headers = {**self._headers, "accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        async with self._client.request(method, f"{self.url}{path}", body, headers) as answer:
            found = await answer.body(_BODY)
            self.found()
            return answer.status, found, answer.headers.get("retry-after", "")

    def _decoded(self, kind: type[T], body: bytes) -> T:
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise no_server(self.url) from None


async def _pause(tries: int) -> None:
    await asyncio.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)] * random.uniform(0.7, 1.0))
