"""One exchange: a request that is sent when it is entered, and its answer as it comes in.

An exchange is entered once. Leaving it gives the connection back when the body was read to its end, and drops it
otherwise. What is handed out is bytes after decompression, bounded in sum: the library unpacks a bounded piece at a
time and stops reading while nobody takes, so a small body that unpacks into a huge one costs no memory.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from types import TracebackType
from typing import Final, final

from aiohttp import ClientResponse

from holdfast.errors import AnswerTooLarge, ProtocolError
from holdfast.net.failures import CAUGHT, translated
from holdfast.net.hops import REDIRECTS, Hop, next_hop, origin_of
from holdfast.net.sessions import Sessions

__all__ = ("Exchange",)

_TAKEN_AT_ONCE: Final = 64 * 1024  # a body up to this never waits for the other side to read
_SENT_WHOLE: Final = 1024 * 1024  # above, the library wants a file and lets others run between its pieces


@final
class Exchange:
    """A request and its answer: `async with client.post(...) as answer: async for data in answer: ...`."""

    __slots__ = ("_answer", "_hop", "_left", "_place", "_read", "_redirects", "_sessions", "headers", "status")

    def __init__(self, sessions: Sessions, hop: Hop, redirects: int) -> None:
        self._sessions = sessions
        self._hop = hop
        self._redirects = redirects
        self._left = sessions.settings.body_limit
        self.status = 0
        """The HTTP status."""
        self.headers: Mapping[str, str]
        """The answer's headers; names match in any case."""

    async def __aenter__(self) -> Exchange:
        """Sends the request, follows as many redirects as were allowed, and returns with the headers there.

        Raises:
            NetError: there is no answer; the subclass says why.
        """
        answer = await self._send()
        if self._redirects and answer.status in REDIRECTS:
            answer = await self._follow(answer)
        self._answer = answer
        self._place.answers.add(answer)
        self._read = answer.content.readany
        self.status = answer.status
        self.headers = answer.headers
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the connection back, or drops it when the body was not read to its end."""
        answer = self._answer
        self._place.answers.discard(answer)
        if not answer.closed:
            answer.release()
            await answer.wait_for_close()

    @property
    def ended(self) -> bool:
        """Whether the whole body has come in and been handed out."""
        return self._answer.content.at_eof()

    def __aiter__(self) -> Exchange:
        """Returns itself: the body as it comes in, once."""
        return self

    async def __anext__(self) -> bytes:
        """Returns what came in since the last call, waiting until there is something.

        Raises:
            NetError: the body broke off, went silent, is no HTTP, or is over the limit.
        """
        try:
            data = await self._read()
        except CAUGHT as error:
            raise translated(error, origin_of(self._hop.url)) from None
        if not data:
            raise StopAsyncIteration
        self._left -= len(data)
        if self._left < 0:
            raise self._too_large(self._sessions.settings.body_limit)
        return data

    async def body(self, limit: int | None = None) -> bytes:
        """Returns what is left of the body; `limit` bounds it more tightly than the client does, in bytes.

        Raises:
            NetError: see `__anext__`.
        """
        pieces: list[bytes] = []
        size = 0
        async for data in self:
            size += len(data)
            if limit is not None and size > limit:
                raise self._too_large(limit)
            pieces.append(data)
        return b"".join(pieces)

    def _too_large(self, limit: int) -> AnswerTooLarge:
        origin = origin_of(self._hop.url)
        return AnswerTooLarge(f"the answer of {origin!r} is over {limit} bytes; ask for less or raise the limit")

    async def _send(self) -> ClientResponse:
        hop = self._hop
        body = hop.body
        try:
            self._place = self._sessions.current() or await self._sessions.open()
            session = self._place.session
            if body is None or len(body) <= _TAKEN_AT_ONCE:
                return await session.request(hop.method, hop.url, data=body, headers=hop.headers, allow_redirects=False)
            # The library's silence limit begins when the body is out: somebody who never takes it needs one too.
            settings = self._sessions.settings
            async with asyncio.timeout(settings.connect_timeout + settings.silence_timeout):
                data = body if len(body) <= _SENT_WHOLE else io.BytesIO(body)
                return await session.request(hop.method, hop.url, data=data, headers=hop.headers, allow_redirects=False)
        except CAUGHT as error:
            raise translated(error, origin_of(hop.url)) from None

    async def _follow(self, answer: ClientResponse) -> ClientResponse:
        for _ in range(self._redirects):
            location = answer.headers.get("Location")
            if location is None:
                return answer
            answer.release()
            await answer.wait_for_close()
            self._hop = next_hop(self._hop, answer.status, location)
            answer = await self._send()
            if answer.status not in REDIRECTS:
                return answer
        answer.release()
        await answer.wait_for_close()
        message = f"{origin_of(self._hop.url)!r} redirects more than {self._redirects} times; ask for the final URL"
        raise ProtocolError(message)
