"""What a module may use, and what came of it: values, whatever the module did."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from holdfast.errors import UsageError

__all__ = ("USUAL_LIMITS", "ModuleEnd", "ModuleEnding", "ModuleLimits")

ModuleEnding = Literal["ok", "exit", "trap", "refused", "fuel", "memory", "output", "stopped"]
"""How a module ended: at its end or with `proc_exit(0)`, with another code, by its own fault, before it began, at the
limit of that name, or because its caller had gone."""

_LARGEST: Final = 1 << 32
_MOST_FUEL: Final = 1 << 53


class ModuleLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a module may use.

    Raises:
        UsageError: a number is none that can be meant.
    """

    fuel: int = 1_000_000_000
    """Instructions, about: the same input uses the same number each time. A second is one to several 10**9 of them.
    Each function of the operating system counts as 50,000."""
    memory: int = 64 * 1024**2
    """Bytes."""
    output: int = 4 * 1024**2
    """Bytes it may print."""
    entrypoint: str = "_start"
    """The exported function that is called; it takes no parameters."""
    wasi: bool = True
    """Whether it has a coarse clock and random numbers. Without, the same input leads to the same output, and a module
    that asks for more than its standard streams is refused."""

    def __post_init__(self) -> None:
        if not (0 < self.fuel <= _MOST_FUEL and 0 < self.memory <= _LARGEST and self.output > 0 and self.entrypoint):
            raise UsageError(
                "a module has some fuel, up to 4 GiB of memory, some output, and an entry point; leave a limit out for "
                "its usual value"
            )


USUAL_LIMITS: Final = ModuleLimits()
"""What a module may use when nobody says otherwise."""


class ModuleEnd(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a module."""

    ended: ModuleEnding
    output: bytes = b""
    """What it printed on its standard output; at most `ModuleLimits.output` bytes."""
    errors: str = ""
    """The end of what it printed on its standard error, as text that is safe to show."""
    why: str = ""
    """What stopped it, or its exit code."""
    fuel: int = 0
    """Instructions used, about."""
