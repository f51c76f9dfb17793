"""Everybody who can be recognised: by a key, a token of a list, a token of an issuer, or a login.

What a request shows decides who looks at it: a key or token in its headers goes before a cookie, and what is shown and
not recognised is refused, whatever else is there. As long as nobody was given anything - no key, no user, no list, no
issuer - everybody on this machine is its user (`local.py`); the first key or user closes that door within a second.

Whoever shows things that are not recognised, again and again, is not looked up any more for a while, by address. What
was recognised in the hour before is looked up all the same, so that one stranger behind a shared address keeps nobody
out who is at work.
"""

from __future__ import annotations

from typing import Final, final

from holdfast.flow.clock import Clock
from holdfast.server.access.buckets import Buckets, Rate, client_name, whole_seconds
from holdfast.server.access.credentials import LONGEST, bearer_of, hash_of
from holdfast.server.access.keys.keeping import Keys
from holdfast.server.access.keys.key import PREFIX
from holdfast.server.access.listed import ListedTokens
from holdfast.server.access.local import LocalAccess
from holdfast.server.access.port import Asked
from holdfast.server.access.principal import Principal
from holdfast.server.access.shelf import Fresh
from holdfast.server.access.tokens.verifying import Tokens, looks_signed
from holdfast.server.access.users.entering import Logins
from holdfast.server.access.users.keeping import Users
from holdfast.server.problems import Refused

__all__ = ("FAILURES", "Chain")

FAILURES: Final = Rate(1.0, 60.0)
"""What one client may show that is not recognised: one a second, and so many at once."""
_AT_WORK: Final = 3600.0
"""Seconds after which whoever was recognised is no longer taken to be at work."""
_REMEMBERED: Final = 50_000
"""Of how many it is remembered that they are."""


@final
class Chain:
    """Recognises everybody who was given something to be recognised by."""

    def __init__(
        self,
        clock: Clock,
        keys: Keys,
        users: Users,
        logins: Logins,
        *,
        listed: ListedTokens | None = None,
        tokens: Tokens | None = None,
        required: bool = False,
    ) -> None:
        """`required` lets nobody in without anything, also while there is no key and no user yet."""
        self._keys = keys
        self._users = users
        self._logins = logins
        self._listed = listed
        self._tokens = tokens
        self._required = required or tokens is not None or bool(listed)
        self._local = LocalAccess()
        self._closed = Fresh(self._given_anything, clock, most=1)
        self._failures = Buckets(clock)
        self._clock = clock
        self._good: dict[str, float] = {}
        """When what was recognised was shown last, by its hash; it decides nothing but who is looked up."""

    async def open_to_all(self) -> bool:
        """Whether everybody who reaches this server may everything: nobody was given anything to be recognised by."""
        return not self._required and await self._closed.get("") is None

    async def needs_setup(self) -> bool:
        """Whether the first user is still to be made, before anybody can log in."""
        return not await self._users.any()

    def closes(self) -> None:
        """Looks again whether it is open to all: somebody was given something just now."""
        self._closed.forget("")

    async def identify(self, asked: Asked) -> Principal | None:
        """Returns for whom a request is made; None where it shows nothing that is recognised.

        Raises:
            Refused: what it shows is no longer good, somebody else's page made it, or its sender has shown too much
                that is not good.
        """
        if await self.open_to_all():
            return await self._local.identify(asked)
        shown = bearer_of(asked.headers)
        if shown:
            return await (self._look(shown) if asked.again else self._shown(shown, asked.client))
        if "authorization" in asked.headers:
            return None
        who = await self._logins.recognise(asked)
        if who is None and not self._others and await self._closed.get("") is None:
            raise Refused(
                401, "setup_required", "this server has no users yet: make the first one with its set-up token"
            )
        return who

    async def close(self) -> None:
        """Lets go of what it holds."""
        if self._tokens is not None:
            await self._tokens.close()

    @property
    def _others(self) -> bool:
        return self._tokens is not None or bool(self._listed)

    async def _shown(self, shown: str, client: str) -> Principal | None:
        name, kept = client_name(client), hash_of(shown)
        if not self._is_at_work(kept) and (seconds := self._failures.wait(name, FAILURES)) > 0:
            raise Refused(
                429,
                "too_many_failures",
                "too much that was not recognised came from this address: wait, and send a key that is good",
                headers={"retry-after": whole_seconds(seconds)},
            )
        try:
            who = await self._look(shown)
        except Refused as refused:
            if refused.status == 401:
                self._fail(name, kept)
            raise
        if who is None:
            self._fail(name, kept)
            return None
        self._good.pop(kept, None)  # the newest stand last
        self._good[kept] = self._clock.monotonic()
        if len(self._good) > _REMEMBERED:
            del self._good[next(iter(self._good))]
        return who

    def _is_at_work(self, kept: str) -> bool:
        at = self._good.get(kept)
        return at is not None and self._clock.monotonic() - at < _AT_WORK

    def _fail(self, name: str, kept: str) -> None:
        self._good.pop(kept, None)
        self._failures.take(name, FAILURES)

    async def _look(self, shown: str) -> Principal | None:
        if len(shown) > LONGEST:
            return None
        if shown.startswith(PREFIX):
            who = await self._keys.recognise(shown)
        elif self._tokens is not None and looks_signed(shown):
            who = await self._tokens.recognise(shown)
        else:
            who = None
        return who or (self._listed.recognise(shown) if self._listed is not None else None)

    async def _given_anything(self, name: str) -> bool | None:
        del name
        return True if await self._keys.any() or await self._users.any() else None
