"""A tool in a container of its own that speaks the contract: it reads a request, and prints one answer.

Each call starts a fresh one, without a network unless its tool asks for one and may have it, as a user that is nobody,
with nothing to write to but a `/tmp` in memory, and within limits. An image is run by podman or docker
(`commands/engines.py`); a program of the machine in a sandbox of our own (`commands/rooms.py`).
"""

from __future__ import annotations

from typing import final

import msgspec

from holdfast.errors import UsageError
from holdfast.sandbox.policy.profile import BackendName
from holdfast.tools.binding import ToolFailure
from holdfast.tools.contract.checking import ContractBroken, answer_of, result_of
from holdfast.tools.transports.commands.engines import EngineRoom
from holdfast.tools.transports.commands.resources import Resources
from holdfast.tools.transports.commands.rooms import OwnRoom
from holdfast.tools.transports.commands.running import Command, Program
from holdfast.tools.transports.port import Errand, Transport
from holdfast.types import ToolResult

__all__ = ("Container",)


@final
class Container(Transport):
    """Starts a container for each call."""

    kind = "container"

    def __init__(
        self,
        command: Command,
        *,
        image: str = "",
        resources: Resources | None = None,
        backend: BackendName = "auto",
    ) -> None:
        """`backend` is what a program without an image runs in.

        Raises:
            UsageError: it asks for what goes with no sandbox, or there is nothing to start.
        """
        wanted = resources or Resources()
        if not image and not command.program:
            raise UsageError("a tool of the kind container has nothing to start: name an image, or a program")
        if backend in ("none", "process", "wasm"):
            raise UsageError(f"{backend!r} keeps no program apart: take native, bubblewrap, container or gvisor")
        room = EngineRoom(image, wanted) if image else OwnRoom(wanted, backend)
        self.place = image or command.program
        self.secrets = tuple([each.secret for each in command.env_from])
        self.resources = wanted
        self._program = Program(command, room)

    async def send(self, errand: Errand) -> ToolResult:
        """Returns what the container answered."""
        request = errand.request
        name = request.tool.name
        ran = await self._program.run(errand, msgspec.json.encode(request) + b"\n", "stdout")
        if isinstance(ran, ToolResult):
            return ran
        if (failed := ran.failure(name)) is not None:
            return failed
        try:
            result = result_of(name, answer_of(ran.stdout, request.request_id), errand.hide)
        except ContractBroken as error:
            raise ToolFailure(
                f"{name!r} broke the contract: {error}",
                code="runtime_policy_invalid",
                metadata={"field": error.field},
            ) from error
        return msgspec.structs.replace(result, content=ran.redactor.hide(result.content))

    async def close(self) -> None:
        """Ends what its room keeps ready."""
        await self._program.room.close()
