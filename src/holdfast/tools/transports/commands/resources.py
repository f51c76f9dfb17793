"""What a container of a tool may use, and the most that whoever runs Holdfast lets any tool ask for.

A tool asks where it is declared, and the ceiling is of the runtime that calls it (`Profile.tools`): a call of what asks
for more is refused, and nothing is made less in silence.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.errors import UsageError
from holdfast.sandbox.policy.profile import Ceiling
from holdfast.tools.binding import ToolFailure

__all__ = ("Network", "Resources", "bound_by")

Network = Literal["none", "bridge"]


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What one call may use (source: Orloj 3.4, the posture of its containers).

    Raises:
        UsageError: a number is none that can be meant.
    """

    memory: int = 128 * 1024**2
    """Bytes, of all its processes together; there is no swap besides."""
    cpus: float = 0.5
    """Processors."""
    pids: int = 64
    """Processes and threads at once."""
    network: Network = "none"
    """`bridge` lets it go wherever the engine's own network leads."""

    def __post_init__(self) -> None:
        if not (self.memory >= 8 * 1024**2 and 0.01 <= self.cpus <= 4096 and 1 <= self.pids <= 1 << 20):
            raise UsageError("a container has 8 MiB of memory at least, 0.01 processors and one process")
        if self.network not in ("none", "bridge"):
            raise UsageError(f"there is no network {self.network!r}: write none or bridge")


def bound_by(ceiling: Ceiling, wanted: Resources) -> None:
    """Does nothing where a tool asks for no more than a ceiling allows.

    Raises:
        ToolFailure: it asks for more; says of what.
    """
    over = [
        f"{what} {asked:g} (at most {most:g})"
        for what, asked, most in (
            ("memory", wanted.memory, ceiling.memory),
            ("cpus", wanted.cpus, ceiling.cpus),
            ("pids", wanted.pids, ceiling.pids),
        )
        if asked > most
    ]
    if wanted.network not in ceiling.networks:
        over.append(f"network {wanted.network!r} (only {', '.join(ceiling.networks) or 'none at all'})")
    if over:
        why = (
            f"it asks for more than it may have: {', '.join(over)}; ask for less, or have whoever runs Holdfast raise "
            "the ceiling, which is `tools` of the sandbox profile"
        )
        raise ToolFailure(why, code="permission_denied")
