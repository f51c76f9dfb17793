"""What a program says of keys, headers and servers: for all its models (`Access`), or for one agent's (`Own`).

Both stay in the process: they are in no spec, no log, no error, and show nothing of a key when they are printed.

Not here: what the environment says, finding out which of them counts (`making.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import cast, final

from holdfast.errors import UsageError
from holdfast.errors.hinting import hint
from holdfast.models.access.headers import checked_header
from holdfast.models.access.servers import CustomServer, registered
from holdfast.models.providers import finding

__all__ = ("NO_ACCESS", "Access", "Key", "Own")

Key = str | Callable[[], str | Awaitable[str]]
"""A key, or a function, `async` or not, that gives it: asked before each call, and again when it was refused."""


@final
class Access:
    """Keys, headers and servers that a program registers.

    A key that one agent was given goes before those here, and these before the environment's.
    """

    __slots__ = ("headers", "keys", "servers")

    def __init__(
        self,
        *,
        keys: Mapping[str, Key] | None = None,
        headers: Mapping[str, Mapping[str, str]] | None = None,
        servers: Mapping[str, CustomServer] | None = None,
    ) -> None:
        """Takes all of it by the provider's name, the word before the slash.

        Args:
            keys: A provider's key, or the function that gives it.
            headers: What each request to a provider carries beside its own headers. A name that is sent anyway is sent
                with both values.
            servers: Servers that are no provider yet, or replace one.

        Raises:
            UsageError: there is no such provider, a server lacks something or has the name of a provider, or something
                is no key or cannot be a header.
        """
        self.servers: Mapping[str, CustomServer] = registered(servers or {}, finding.PROVIDERS)
        known = (*finding.PROVIDERS, *self.servers)
        for provider in (*(keys or {}), *(headers or {})):
            if provider not in known:
                raise _no_provider(provider, known)
        self.keys: Mapping[str, Key] = {name: _checked(key, f"keys[{name!r}]") for name, key in (keys or {}).items()}
        self.headers: Mapping[str, Mapping[str, str]] = {
            provider: {checked_header(name, value): value for name, value in each.items()}
            for provider, each in (headers or {}).items()
        }

    def __repr__(self) -> str:
        """Returns names, and nothing of what they stand for."""
        return f"Access(keys={sorted(self.keys)}, headers={sorted(self.headers)}, servers={sorted(self.servers)})"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("keys are not written down: make an Access where it is used")


NO_ACCESS = Access()


@final
class Own:
    """A key and headers of one agent."""

    __slots__ = ("_key", "_keys", "headers")

    def __init__(self, key: Key | Mapping[str, Key] | None, headers: Mapping[str, str] | None) -> None:
        """Takes one key for the one provider whose models it asks, or keys by provider.

        Raises:
            UsageError: something is no key, or cannot be a header.
        """
        several: Mapping[str, Key] = cast("Mapping[str, Key]", key) if isinstance(key, Mapping) else {}
        self._keys = {name: _checked(each, f"key[{name!r}]") for name, each in several.items()}
        self._key = None if key is None or isinstance(key, Mapping) else _checked(key, "key")
        self.headers: Mapping[str, str] = {
            checked_header(name, value): value for name, value in (headers or {}).items()
        }

    def key(self, provider: str) -> Key | None:
        """Returns the key for a provider; None where it has none."""
        return self._keys.get(provider, self._key)

    def check(self, providers: Iterable[str]) -> None:
        """Ends quietly when it is clear whose the key is.

        Raises:
            UsageError: there is one key, and models of several providers are asked.
        """
        several = sorted(set(providers))
        if self._key is not None and len(several) > 1:
            written = ", ".join(f"{each!r}: …" for each in several)
            raise UsageError(f"the agent has one key and asks several providers: write key={{{written}}}")

    def __repr__(self) -> str:
        """Returns names, and nothing of what they stand for."""
        return f"Own(headers={sorted(self.headers)})"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("keys are not written down: give them to the agent where it is made")


def _checked(key: Key, where: str) -> Key:
    if not isinstance(key, str):
        if callable(key):
            return key
        raise UsageError(f"{where} is no key: give text, or a function that returns it")
    key = key.strip()
    if not key or not (key.isascii() and key.isprintable()):
        raise UsageError(f"{where} holds nothing, or characters that no key has: give the key alone")
    return key


def _no_provider(provider: str, known: Iterable[str]) -> UsageError:
    return UsageError(f"there is no provider {provider!r} to give a key or headers to: {hint(provider, known)}")
