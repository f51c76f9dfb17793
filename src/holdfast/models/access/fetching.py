"""Keys that a function gives: it is asked before each call, so what it gives may change at any time.

An answer counts for all who came before it was asked for. Whoever comes while the function is asked may need a later
key than the one it will give, and waits for the next answer, with all others who do. A function that takes long should
remember what it gave. Not here: tokens of OAuth (`oauth.py`), keys that are text.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Protocol, final

from holdfast.errors import AuthFailed
from holdfast.models.failures import Origin

__all__ = ("Asked", "Source")


class Source(Protocol):
    """Where a key is from that has to be waited for."""

    async def token(self, origin: Origin, *, refused: str = "") -> str:
        """Returns the key to call with, another than the `refused` one if there is another by now.

        Raises:
            ModelError: there is none.
        """
        ...


@final
class Asked(Source):
    """What one function gives."""

    def __init__(self, ask: Callable[[], str | Awaitable[str]]) -> None:
        self._ask = ask
        self._key = ""
        self._begun = 0
        """How often it was asked."""
        self._ended = 0
        """Which time of these it answered, or failed, last."""
        self._failure = ""
        self._asking = asyncio.Lock()

    async def token(self, origin: Origin, *, refused: str = "") -> str:
        """Returns the key that the function gives now, whether or not it is the one that was refused.

        Raises:
            AuthFailed: the function failed, or gave no key.
        """
        begun = self._begun
        async with self._asking:
            if self._ended <= begun:
                await self._renew(origin.name)
            elif self._failure:
                raise AuthFailed(self._failure)
            return self._key

    async def _renew(self, name: str) -> None:
        self._begun += 1
        self._failure = ""
        try:
            key = self._ask()
            if inspect.isawaitable(key):
                key = await key
        except Exception as error:  # what people wrote may raise anything, and its words may hold the key
            kind = type(error).__name__
            self._failure = f"the function that gives the key for {name!r} failed ({kind}); look at it"
            self._ended = self._begun
            raise AuthFailed(self._failure) from error
        self._ended = self._begun
        key = key.strip() if isinstance(key, str) else ""  # pyright: ignore[reportUnnecessaryIsInstance] - people wrote it
        if not key or not (key.isascii() and key.isprintable()):
            self._failure = f"the function that gives the key for {name!r} gave none; let it return the key as text"
            raise AuthFailed(self._failure)
        self._key = key
