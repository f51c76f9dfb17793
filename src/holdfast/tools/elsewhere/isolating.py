"""How a tool elsewhere is kept apart from the machine: by what it says, its kind, or how bad a wrong call would be.

A program that is started here, in one of the sandboxes there are (`transports/commands/rooms.py`). A call over the
network starts nothing here, and no transport makes it from inside a sandbox yet: where one is to, the call is refused
and says so, and is not made without.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from holdfast.errors import UsageError
from holdfast.tools.contract.taxonomy import fault_of
from holdfast.tools.transports.commands.engines import EngineRoom
from holdfast.tools.transports.commands.resources import Resources
from holdfast.tools.transports.commands.rooms import HostRoom, Room, RunRoom
from holdfast.tools.transports.port import Errand, Transport, Unsent
from holdfast.types import Governance, ToolResult

__all__ = ("ISOLATIONS", "Isolation", "Unreached", "isolation_of", "kept_apart", "room_of")

Isolation = Literal["none", "sandboxed", "container", "wasm"]
ISOLATIONS: Final[tuple[Isolation, ...]] = get_args(Isolation)

_REMOTE: Final = ("http", "external", "webhook-callback", "grpc", "mcp", "a2a")
"""Kinds that start nothing here."""
_ALWAYS: Final[dict[str, Isolation]] = {"container": "container", "wasm": "wasm"}
"""Kinds that are an isolation."""


def isolation_of(governance: Governance, kind: str, declared: str | None = None) -> Isolation:
    """Returns how calls of a tool are kept apart (source: Orloj 1.4). A kind that nobody knows is, whatever its risk.

    Raises:
        UsageError: what is declared is no isolation, or none of this kind.
    """
    if declared is not None and declared not in ISOLATIONS:
        raise UsageError(f"there is no isolation {declared!r}: write {', '.join(ISOLATIONS)}")
    if (always := _ALWAYS.get(kind)) is not None:
        if declared not in (None, always):
            raise UsageError(f"a tool of the kind {kind} is isolated by that: leave isolation {declared!r} out")
        return always
    if declared == "wasm":
        raise UsageError(f"a tool of the kind {kind} is no module: write sandboxed or container")
    for each in ISOLATIONS:
        if each == declared:
            return each
    if kind == "cli":
        return "container"
    risky = governance.risk in ("high", "critical")
    return "sandboxed" if risky or kind not in _REMOTE else "none"


def room_of(
    name: str,
    isolation: Isolation,
    *,
    image: str = "",
    resources: Resources | None = None,
) -> Room:
    """Returns where the program of a tool of the kind cli runs: on the machine itself where it is to be isolated by
    nothing, an image with podman or docker, anything else in the sandbox of the run.

    Raises:
        UsageError: the tool asks for what goes with no such room.
    """
    if image and isolation != "container":
        raise UsageError(f"the tool {name!r} has an image, which is run in a container: write isolation container")
    if image:
        return EngineRoom(image, resources or Resources())
    if resources is not None:
        raise UsageError(f"the limits of {name!r} are those of the run's sandbox: set them in its profile")
    if isolation == "wasm":
        raise UsageError(f"the tool {name!r} is a program and no module: write sandboxed or container")
    return HostRoom() if isolation == "none" else RunRoom()


class Unreached(Transport):
    """Makes no call: what it leads to is to be reached from inside a sandbox, which nothing here does."""

    kind = "isolated"

    def __init__(self, inner: Transport) -> None:
        self.place = inner.place
        self.private = inner.private
        self._kind = inner.kind

    async def send(self, errand: Errand) -> ToolResult:
        """Refuses, as the port says."""
        name = errand.request.tool.name
        raise Unsent(
            ToolResult(
                f"{name!r} was not called: a tool of the kind {self._kind} is not called from inside a sandbox here. "
                "What answers runs elsewhere, and nothing of it here: declare isolation none to call it from this "
                "process, through its address guard, or make it a tool of the kind cli or container",
                fault_of("isolation_unavailable"),
            )
        )


def kept_apart(transport: Transport, isolation: Isolation) -> Transport:
    """Returns what calls a tool over the network as it is declared: itself, or what refuses where that cannot be."""
    return transport if isolation == "none" else Unreached(transport)
