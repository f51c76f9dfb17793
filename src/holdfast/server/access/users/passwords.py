"""Passwords: what people made up, which can be guessed, and so is kept in a way that makes each guess dear.

Argon2id with 64 MiB, three passes, two lanes, a key of 32 and a salt of 16 bytes (source: Orloj 6.5). It takes a tenth
of a second and all of that memory, so two at once are worked on, in threads of their own, some wait, and more are told
to come back: nobody can fill the memory or hold up the event loop by trying to log in.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, TypeVarTuple, Unpack, final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from holdfast.errors import UsageError
from holdfast.server.problems import Refused

__all__ = ("AT_ONCE", "LONGEST", "SHORTEST", "Passwords", "check_password", "new_password")

T = TypeVar("T")
Given = TypeVarTuple("Given")

SHORTEST: Final = 12
LONGEST: Final = 1024
"""Characters."""
AT_ONCE: Final = 2
_WAITING: Final = 32
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without those that are taken for one another."""


def new_password() -> str:
    """Returns a password that is drawn: five groups of five characters, more than 120 bits."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(5)) for _ in range(5))


def check_password(password: str, name: str) -> None:
    """Ends quietly where a password can be one.

    Raises:
        UsageError: it is too short, too long, or the name of its user.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(f"a password has {SHORTEST} to {LONGEST:,} characters, and this has {len(password):,}")
    if name and name in password.lower() and len(password) - len(name) < SHORTEST // 2:
        raise UsageError("a password that is little more than the user's name is guessed first: choose another")


@final
class Passwords:
    """Works passwords out."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=2, hash_len=32, salt_len=16)
        self._threads = ThreadPoolExecutor(AT_ONCE, "password")
        self._waiting = 0
        self._nobodys = ""
        """The hash of a password that nobody has, to be compared with where there is no user."""

    async def hash(self, password: str) -> str:
        """Returns what is kept of a password.

        Raises:
            Refused: too many others are waiting.
        """
        return await self._work(self._hash, password)

    async def matches(self, password: str, kept: str | None) -> bool:
        """Whether this is the password of which that is kept. Without anything kept it takes as long, and is not.

        Raises:
            Refused: too many others are waiting.
        """
        if len(password) > LONGEST:
            password, kept = password[:LONGEST], None
        matches = await self._work(self._verify, password, kept)
        return matches and kept is not None

    def close(self) -> None:
        """Lets the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _work(self, function: Callable[[Unpack[Given]], T], *arguments: *Given) -> T:
        if self._waiting >= _WAITING:
            raise Refused(
                503, "busy", "too many people are logging in: try again in a moment", headers={"retry-after": "2"}
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        finally:
            self._waiting -= 1

    def _hash(self, password: str) -> str:
        return self._hasher.hash(password.encode("utf-8", "surrogatepass"))

    def _verify(self, password: str, kept: str | None) -> bool:
        if not self._nobodys:  # whoever comes first, known or not
            self._nobodys = self._hash(secrets.token_hex(16))
        try:
            return self._hasher.verify(kept or self._nobodys, password.encode("utf-8", "surrogatepass"))
        except (VerificationError, InvalidHashError):
            return False
