"""Keys that a function gives: asked for once by all who need one, and again when one was refused.

What it gave counts until then, for all models of this process that use it. Not here: tokens of OAuth (`oauth.py`),
keys that are text.
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
        """Returns the key, another than the `refused` one if there is another by now.

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
        self._times = 0
        self._failure = ""
        self._asking = asyncio.Lock()

    async def token(self, origin: Origin, *, refused: str = "") -> str:
        """Returns the key; whoever comes while the function is asked waits for the same answer.

        Raises:
            AuthFailed: the function failed, or gave no key.
        """
        if self._holds(refused):
            return self._key
        times = self._times
        async with self._asking:
            if not self._holds(refused):
                if self._times != times and self._failure:
                    raise AuthFailed(self._failure)
                if self._times == times or not self._key:
                    await self._renew(origin.name)
            return self._key

    def _holds(self, refused: str) -> bool:
        return bool(self._key) and self._key != refused

    async def _renew(self, name: str) -> None:
        self._failure = ""
        try:
            key = self._ask()
            if inspect.isawaitable(key):
                key = await key
        except Exception as error:  # what people wrote may raise anything, and its words may hold the key
            kind = type(error).__name__
            self._failure = f"the function that gives the key for {name!r} failed ({kind}); look at it"
            raise AuthFailed(self._failure) from error
        finally:
            self._times += 1
        key = key.strip() if isinstance(key, str) else ""  # pyright: ignore[reportUnnecessaryIsInstance] - people wrote it
        if not key or not (key.isascii() and key.isprintable()):
            self._failure = f"the function that gives the key for {name!r} gave none; let it return the key as text"
            raise AuthFailed(self._failure)
        self._key = key
