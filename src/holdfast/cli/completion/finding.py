"""Which session of a store a person means by what was typed: a name, or the beginning of one."""

from __future__ import annotations

from holdfast.cli.completion.sessions import beginning_with
from holdfast.cli.screen import store_option
from holdfast.errors import UnknownSession
from holdfast.errors.hinting import hint
from holdfast.journal.port import Head, Journal
from holdfast.runtime.opening import store_exists
from holdfast.types import StreamId, session_of, stream_id

__all__ = ("known_session", "there")

_SOME = 1000
"""Sessions among which a name is looked for that may have been meant."""
_TOLD = 6
"""Sessions that are named of those whose names begin alike."""


def there(url: str) -> str:
    """Returns the store, if it exists: looking for a session makes none."""
    return url if store_exists(url) else "memory:"


async def known_session(journal: Journal, session: str, url: str, *, whole: bool = False) -> tuple[StreamId, Head]:
    """Returns the stream and the head of a session: the one of that name, else the only one whose name begins so.

    Where `whole` is set only the whole name will do: for what cannot be taken back.

    Raises:
        UnknownSession: there is none, or several names begin so; the message names them.
    """
    stream = stream_id("local", session)
    head = await journal.head(stream)
    if head is not None:
        return stream, head
    where = f"there is no session {session!r} in {url.rstrip(':')}"
    fitting = await beginning_with(journal, session, _SOME)
    if len(fitting) == 1 and not whole:
        return fitting[0].stream, fitting[0]
    if fitting:
        told = [repr(session_of(each.stream)) for each in fitting[:_TOLD]]
        more = f" and {len(fitting) - _TOLD:,} more" if len(fitting) > _TOLD else ""
        begin = "begins" if len(fitting) == 1 else "begin"
        wanted = "this takes the whole name" if whole else "write more of the name"
        raise UnknownSession(f"{where}; {', '.join(told)}{more} {begin} so: {wanted}")
    names = [session_of(each.stream) for each in await journal.heads("local", limit=_SOME)]
    meant = hint(session, names, f"`holdfast runs list{store_option(url)}` shows what there is")
    raise UnknownSession(f"{where}: {meant}")
