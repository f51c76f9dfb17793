"""Publishing to NATS, by its own library, which is loaded with the first connection (source: AgentOps 2).

What is published waits in memory until a server has confirmed it, and is sent again over the next connection where none
did: a server that goes away for a while has everything once it is back, and a few things twice. Nobody who publishes
ever waits. What is more than memory may hold is left out, the oldest first, and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, final
from urllib.parse import unquote, urlsplit

import msgspec

from holdfast.errors import UsageError

__all__ = ("HELD", "Nats", "is_token")

HELD: Final = 16 * 1024 * 1024
"""Bytes that wait for a server at most."""
_OVERHEAD: Final = 128
"""What a message takes beside its bytes, roughly."""
_AGAIN = 2.0
"""Seconds until it is tried again to connect (source: AgentOps 2)."""
_CONNECT, _CONFIRM = 10, 60
"""Seconds that a server has to let us in, and to confirm what it was sent."""
_BEAT = 20
"""Seconds after which a silent server is asked whether it lives; it may miss two."""
_BATCH = 512
"""Messages that are confirmed together."""
_log = logging.getLogger("holdfast.net")


class _Server(msgspec.Struct, frozen=True, kw_only=True):
    shown: str
    url: str
    login: Mapping[str, str]


def is_token(text: str) -> bool:
    """Whether a text can be one part of a subject, as it is."""
    return bool(text) and text.isascii() and text.isprintable() and not set(text) & set(" .*>")


@final
class Nats:
    """Publishes to the first server that takes it; a context."""

    def __init__(self, url: str, name: str, *, again: float = _AGAIN, most: int = HELD) -> None:
        """`url` is one server or several with commas, as in `nats://user:password@host:4222`; `tls://` encrypts.

        Raises:
            UsageError: one is none, or the library is not installed.
        """
        self._servers = [_server(each) for each in url.split(",") if each.strip()]
        if not self._servers:
            raise UsageError("there is no server in NATS_URL: write nats://host:4222")
        try:
            import nats  # noqa: PLC0415 - most have no bus
        except ImportError as error:
            raise UsageError("NATS_URL needs a library that is not here: pip install 'holdfast[nats]'") from error
        self._library: Any = nats
        self._name = name
        self._again = again
        self._most = most
        self._held: deque[tuple[str, bytes]] = deque()
        """What no server has confirmed, the oldest first; the first `_sent` are on their way."""
        self._sent = 0
        self._size = 0
        self._woken = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._why = ""
        """Why there is no connection; what the library raises then says only that there is none."""
        self._said = ""
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self.lost = 0
        """Messages that were left out."""

    async def __aenter__(self) -> Nats:
        """Begins to connect, and waits for nothing."""
        self._task = asyncio.create_task(self._keep(), name="nats")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Lets go of the connection; see `flush`."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def publish(self, subject: str, payload: bytes) -> None:
        """Has a message sent as soon as there is a server; `subject` is made of tokens."""
        if _size_of(payload) > self._most:
            self._leave_out()
            return
        self._held.append((subject, payload))
        self._size += _size_of(payload)
        self._empty.clear()
        self._woken.set()
        while self._size > self._most and len(self._held) > self._sent:
            self._size -= _size_of(self._held[self._sent][1])
            del self._held[self._sent]
            self._leave_out()

    async def flush(self, seconds: float) -> bool:
        """Waits until a server has all that was published, for so many seconds at most; returns whether it has."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)
        return self._empty.is_set()

    def _leave_out(self) -> None:
        self.lost += 1
        if self.lost == 1 or not self.lost % 10_000:
            _log.warning("%d messages for NATS were left out: they are too many, or too large", self.lost)

    async def _keep(self) -> None:
        for server in itertools.cycle(self._servers):
            try:
                await self._talk(server)
            except (OSError, TimeoutError, self._library.errors.Error) as error:
                self._say(server, self._why or str(error) or type(error).__name__)
            if self._closed:  # the library may take a cancellation for a connection that failed
                return
            self._sent, self._why = 0, ""
            await asyncio.sleep(self._again)

    def _say(self, server: _Server, what: str) -> None:
        told = f"{server.shown}: {_plain(what)}"
        if told != self._said:
            self._said = told
            _log.warning("NATS at %s; it is tried again every %g s, and no run waits for it", told, self._again)

    async def _talk(self, server: _Server) -> None:
        """Sends what there is to send, until the connection ends; what one has not confirmed another is sent."""
        ended = asyncio.Event()

        async def closed() -> None:
            ended.set()
            self._woken.set()

        async def complained(error: Exception) -> None:
            if client.is_connected:  # one that ends the connection is followed by its end
                _log.warning("NATS says %s", _plain(str(error)))
            else:
                self._why = str(error)

        client = self._library.aio.client.Client()
        try:
            # Whether it is tried again, and where, is said here: the library would drop what waits.
            await client.connect(
                [server.url],
                name=self._name,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=_CONNECT,
                ping_interval=_BEAT,
                pending_size=2 * self._most,
                closed_cb=closed,
                error_cb=complained,
                **server.login,
            )
            self._said = ""
            while not ended.is_set():
                await self._send(client)
                await self._woken.wait()
                self._woken.clear()
        finally:
            await client.close()

    async def _send(self, client: Any) -> None:
        while self._held:
            batch = list(itertools.islice(self._held, _BATCH))
            self._sent = len(batch)
            for subject, payload in batch:
                if len(payload) > client.max_payload:
                    self._leave_out()
                else:
                    await client.publish(subject, payload)
            await client.flush(_CONFIRM)
            for _, payload in batch:
                self._held.popleft()
                self._size -= _size_of(payload)
            self._sent = 0
        self._empty.set()


def _size_of(payload: bytes) -> int:
    return len(payload) + _OVERHEAD


def _plain(text: str) -> str:
    return "".join(each for each in text if each.isprintable())[:200]


def _server(text: str) -> _Server:
    given = text.strip()
    scheme, sign, _ = given.partition("://")
    try:
        parts = urlsplit(given if sign else f"nats://{given}")
        host, port = parts.hostname or "", parts.port or 4222
    except ValueError:
        host, port, parts = "", 0, urlsplit("")
    if not host or (sign and scheme.lower() not in ("nats", "tls")):
        raise UsageError("NATS_URL names no server: write nats://host:4222, several with commas; tls:// encrypts")
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    user, password = parts.username, parts.password
    login: dict[str, str] = {}
    if user is not None and password is not None:
        login = {"user": unquote(user), "password": unquote(password)}
    elif user is not None:
        login = {"token": unquote(user)}
    return _Server(shown=place, url=f"{parts.scheme.lower()}://{place}", login=login)
