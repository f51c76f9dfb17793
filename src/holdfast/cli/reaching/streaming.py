"""What happens in a session, as a server tells it: over as many connections as it takes, each durable event once.

Whoever comes back says which event was the last, and the server goes on behind it. Each connection begins with a
`Reset`: whatever was heard of an answer that is not durable yet comes again from its beginning, or another does; who
draws it knows what of that stands on the screen already.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final

import msgspec

from holdfast.cli.reaching.calling import Caller, path_of
from holdfast.cli.reaching.refusals import Refusal, read_problem, told
from holdfast.engine.events import CODEC
from holdfast.errors import (
    ConnectionBroken,
    HoldfastError,
    NetTimeout,
    ProtocolError,
    UnknownSession,
)
from holdfast.net.sse import SseEvent, SseParser
from holdfast.types import CallDelta, Delta, Event, Lagged, Reset, TextDelta, ThinkingDelta

__all__ = ("following",)

_LARGEST: Final = 64 * 1024 * 1024
"""Bytes of one event: a prompt with all it may have attached, and more."""
_DELTAS: Final[dict[bytes, msgspec.json.Decoder[Any]]] = {
    kind.type.encode(): msgspec.json.Decoder(kind) for kind in (TextDelta, ThinkingDelta, CallDelta, Reset, Lagged)
}


class _EndedError(Exception):
    """The server ends the stream on purpose."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def following(caller: Caller, session: str, *, after: int = 0) -> AsyncGenerator[list[Event | Delta]]:
    """Yields what happens after an event, for ever, as lists of what came together. It waits while the server is away,
    which `caller` is told.

    Raises:
        UnknownSession: there is no such session, or no longer.
        HoldfastError: the server will not tell; says what helps.
    """
    tries = 0
    while True:
        try:
            async with caller.stream(path_of("sessions", session, "events"), {}, after) as answer:
                parser = SseParser(_LARGEST)
                async for data in answer:
                    items = [item for each in parser.feed(data) if _is_news(item := _item(caller, each), after)]
                    if not items:
                        continue
                    if any(isinstance(item, Reset) and item.reason == "beyond" for item in items):
                        raise UnknownSession(
                            f"session {session!r} was deleted at {caller.url}, and another one has its name\nrun this "
                            "again to follow that one"
                        )
                    tries = 0
                    after = max([item.seq for item in items if isinstance(item, Event)], default=after)
                    yield items
            why = "the stream ended"
        except _EndedError as ended:
            if ended.reason != "closing":
                raise UnknownSession(
                    f"session {session!r} was deleted at {caller.url}\nnothing of it is left there to be followed"
                ) from None
            why = "it is being stopped"
        except (ConnectionBroken, NetTimeout, ProtocolError) as error:
            why = told(error)
        caller.lost(why)
        await caller.pause(tries)
        tries += 1


def _is_news(item: Event | Delta, after: int) -> bool:
    return not isinstance(item, Event) or item.seq > after


def _item(caller: Caller, told: SseEvent) -> Event | Delta:
    """Returns what one event of the stream says.

    Raises:
        _EndedError: that it ends here.
        HoldfastError: that it cannot go on; or nothing that these commands understand.
    """
    try:
        if (decoder := _DELTAS.get(told.event)) is not None:
            return decoder.decode(told.data)
        if told.event == b"end":
            raise _EndedError(msgspec.json.decode(told.data, type=dict[str, Any]).get("reason", ""))
        if told.event == b"error":
            raise _refused(caller, told.data)
        return CODEC.decode(told.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HoldfastError(
            f"{caller.url} tells of something that cannot be read here ({told.event[:40].decode('utf-8', 'replace')!r})"
            "\nupdate these commands to the version of the server"
        ) from None


def _refused(caller: Caller, data: bytes) -> HoldfastError:
    try:
        status = msgspec.json.decode(data, type=dict[str, Any]).get("status")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        status = None
    return caller.refused(Refusal(status if isinstance(status, int) else 500, read_problem(data)))
