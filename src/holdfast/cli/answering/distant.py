"""Speaking to a session at a server, as `holdfast runs steer|abort|pause|unpause|exit|resume` do to one of a store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import click

from holdfast.cli.answering.hearing import Heard, exited, show, told
from holdfast.cli.reaching.naming import Place
from holdfast.cli.reaching.port import Said, Sessions, Spoken
from holdfast.cli.reaching.stores import reached
from holdfast.errors import SessionExited, UsageError
from holdfast.types import Event, SessionId, stream_id

__all__ = ("speak_there",)

_MOMENT = 1.5
"""Seconds in which a server hears what was said."""


def speak_there(
    place: Place,
    session: str,
    output: str,
    send: Callable[[Spoken], Awaitable[Said]],
    done: str,
    *,
    open_: bool = False,
    after: str = "",
) -> None:
    """Says something to a session of a server, and what came of it: `done`, and the session's name.

    `open_` is whether it is only for a run that is open, and `after` is how a person sees what comes of it.

    Raises:
        HoldfastError: there is no such session, no open run, or the server does not take it.
    """

    async def go() -> tuple[SessionId, Said, Heard]:
        async with reached(place) as sessions:
            name = await sessions.named(session)
            stand = await sessions.stand(name)
            if open_ and stand is not None and stand.state == "ended":
                raise SessionExited(exited(name, place.option))
            if open_ and (stand is None or stand.state == "idle"):
                raise UsageError(
                    f"session {name!r} has no open run to speak to\n"
                    f"start one: holdfast chat --session {name}{place.option}"
                )
            said = await send(sessions.run(name, ""))
            last = 0 if stand is None else stand.seq
            return name, said, await _heard(sessions, name, said, last) if output != "text" else Heard(True, "")

    name, said, heard = asyncio.run(go())
    if output != "text":
        click.echo(told(stream_id("local", name), said, heard))
        return
    show(f"{done} {name}", "", heard)
    if after:
        click.echo(f"  {after} {name}{place.option}")


async def _heard(sessions: Sessions, session: str, said: Said, last: int) -> Heard:
    """Returns what came of something that was said after an event, as soon as the log tells of it or a moment later."""
    try:
        async with asyncio.timeout(_MOMENT), aclosing(sessions.follow(session, after=last)) as items:
            async for item in items:
                if isinstance(item, Event) and item.cause == said.key:
                    break
    except TimeoutError:
        pass
    stand = await sessions.stand(session)
    return Heard(stand is not None and not stand.unread, "ended" if stand is None else stand.state)
