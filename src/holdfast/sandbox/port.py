"""The port of what commands run in: how they are started, what keeps them in, and how their leftovers end.

A backend says what it really does as a posture. Nothing is ever assumed of it beyond that: a call whose effect
depends on isolation is judged by the posture, and its digest stands beside each call in the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import msgspec

from holdfast.sandbox.processes import Ended
from holdfast.types import Digest, digest_of

__all__ = ("Backend", "Posture")


class Posture(msgspec.Struct, frozen=True, dict=True):
    """What stands between a command and the rest of the machine."""

    backend: str
    """The adapter's name."""
    layers: tuple[str, ...] = ()
    """What is really on, strongest first, for example `landlock`; empty for nothing."""
    isolated: bool = False
    """Whether a command can change nothing outside its workspace, the network included."""

    @cached_property
    def digest(self) -> Digest:
        """Its content address, as the log names it."""
        return digest_of(msgspec.json.encode(self))


class Backend(Protocol):
    """One way to run commands."""

    @property
    def posture(self) -> Posture:
        """What it does on this machine, found out by trying."""
        ...

    async def run(
        self,
        command: str | Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 - the command has to be ended, not only the waiting
        keep: int,
        errors: bool = True,
    ) -> Ended:
        """Runs a command to its end; `keep` bounds the bytes of output that are kept, `timeout` its seconds.

        A text is a line for bash; a sequence is a program and its arguments, which no shell reads, and `errors` says
        whether its standard error is part of the output or dropped. Cancelling ends everything the command started.

        Raises:
            SandboxError: it cannot be started.
            ValueError: it cannot be passed on: it holds NUL, or is too long.
        """
        ...

    async def attach(self, owner: str, epoch: int) -> int:
        """Kills what commands of this owner's lower epochs left running, and returns how many processes that were.

        A command is known by `HOLDFAST_OWNER=<owner>#<epoch>` in its environment.
        """
        ...
