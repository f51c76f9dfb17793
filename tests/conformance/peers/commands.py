"""The peers of the transports that start a program: a real process, on this machine or in a real sandbox."""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec
import pytest

from holdfast.errors import IsolationMissing
from holdfast.sandbox.backends.choosing import open_named
from holdfast.sandbox.policy.profile import BackendName, Ceiling, Pooling, Profile
from holdfast.sandbox.port import Backend
from holdfast.sandbox.workspace import Workspace
from holdfast.testing.conformance.backends.running import alive
from holdfast.testing.conformance.transports.calling import called, elsewhere
from holdfast.testing.conformance.transports.peer import FAILURE, Behaviour, Peer, Traits
from holdfast.tools.transports.cli import Cli
from holdfast.tools.transports.commands.rooms import HostRoom, Room, RunRoom
from holdfast.tools.transports.commands.running import Command
from holdfast.tools.transports.container import Container
from holdfast.tools.transports.port import Errand, Transport
from holdfast.types import ToolResult

__all__ = ("ContainerPeer", "HostPeer", "SandboxPeer")

_DOES = {
    "works": 'printf %s "$1"',
    "fails": f"echo '{FAILURE}' >&2; exit 1",
    "sleeps": "while :; do sleep 0.1; done",
    "floods": "exec tr '\\0' x </dev/zero",
    "dies": "printf half; kill -9 $$",
}
_SPEAKS = f"""
import json, os, sys, time
behaviour, asked = sys.argv[1], json.loads(sys.stdin.readline())
said = {{"tool_contract_version": "v1", "request_id": asked["request_id"], "status": "ok"}}
if behaviour == "fails":
    said |= {{"status": "error", "error": {{"code": "execution_failed", "message": {FAILURE!r}, "retryable": True}}}}
elif behaviour == "sleeps":
    time.sleep(3600)
elif behaviour == "floods":
    while True:
        sys.stdout.write("x" * 65536)
elif behaviour == "dies":
    print("half", flush=True)
    os.abort()
elif behaviour == "lies:version":
    said["tool_contract_version"] = "v2"
elif behaviour == "lies:request_id":
    said["request_id"] = "another"
elif behaviour == "lies:status":
    said["status"] = "success"
elif behaviour == "lies:garbage":
    sys.stdout.buffer.write(bytes((255, 254, 0)))
elif behaviour == "lies:empty":
    sys.exit()
else:
    said["output"] = {{"result": asked["input"]["text"]}}
print(json.dumps(said))
"""


class Within(Transport):
    """A transport whose calls are of a run with a workspace, and perhaps a sandbox."""

    kind = "cli"

    def __init__(self, inner: Cli, workspace: Workspace, backend: Backend | None) -> None:
        self.place = inner.place
        self._inner = inner
        self._more: dict[str, Any] = {
            "workspace": workspace,
            "backend": backend,
            "ceiling": Ceiling(programs=("bash",)),
        }

    async def send(self, errand: Errand) -> ToolResult:
        context = msgspec.structs.replace(errand.context, **self._more)
        return await self._inner.send(msgspec.structs.replace(errand, context=context))


class CommandPeer(Peer):
    """A program for each behaviour; each call that reaches it leaves a byte in the workspace."""

    traits: ClassVar[Traits] = Traits(lies=(), authenticated=False, absence="isolation_unavailable", many=20)

    def __init__(self) -> None:
        self._mark = f"peer-{secrets.token_hex(6)}"
        self._folder = Path()
        self._backend: Backend | None = None

    def room(self, behaviour: Behaviour) -> Room:
        raise NotImplementedError

    def transport(self, behaviour: Behaviour) -> Transport:
        script = f"printf x >>reached; {_DOES.get(behaviour, '')}".replace("{", "{{").replace("}", "}}")
        command = Command(program="bash", args=("-c", script, self._mark, "{text}"))
        backend = None if behaviour == "absent" else self._backend
        return Within(Cli(command).within(self.room(behaviour)), Workspace(self._folder), backend)

    @property
    def reached(self) -> int:
        there = self._folder / "reached"
        return there.stat().st_size if there.exists() else 0

    def left(self) -> list[str]:
        return alive(self._mark)

    async def __aenter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="peer-")).resolve()  # noqa: ASYNC240 - we made it
        await called(self, elsewhere(self.transport("works")))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._backend is not None:
            await self._backend.close()
        shutil.rmtree(self._folder)


class HostPeer(CommandPeer):
    """Without a sandbox, by its name on the list."""

    def room(self, behaviour: Behaviour) -> Room:
        return RunRoom() if behaviour == "absent" else HostRoom()


class SandboxPeer(CommandPeer):
    """In the sandbox of the run."""

    def room(self, behaviour: Behaviour) -> Room:
        return RunRoom()

    async def __aenter__(self) -> Self:
        try:
            self._backend = await open_named(Profile(backend="bubblewrap", pool=Pooling(reuse="never")))
        except IsolationMissing as error:
            pytest.skip(str(error))
        return await super().__aenter__()


class ContainerPeer(Peer):
    """In a sandbox of its own, which is read-only: nobody counts its calls."""

    traits: ClassVar[Traits] = Traits(authenticated=False, absence="isolation_unavailable", many=8, begins=1.5)
    backend: ClassVar[BackendName] = "bubblewrap"

    def __init__(self) -> None:
        self._mark = f"peer-{secrets.token_hex(6)}"
        self._made: dict[str, Container] = {}

    @property
    def reached(self) -> None:
        return None

    def transport(self, behaviour: Behaviour) -> Transport:
        if behaviour == "absent":
            return Container(Command(), image="holdfast.invalid/no-such-image:none")
        if behaviour not in self._made:
            script = _SPEAKS.replace("{", "{{").replace("}", "}}")
            command = Command(program=sys.executable, args=("-c", script, behaviour, self._mark))
            self._made[behaviour] = Container(command, backend=self.backend)
        return self._made[behaviour]

    def left(self) -> list[str]:
        return alive(self._mark)

    async def __aenter__(self) -> Self:
        try:
            await open_and_close(self.backend)
        except IsolationMissing as error:
            pytest.skip(str(error))
        for behaviour in ("works", "sleeps", "floods"):
            self.transport(behaviour)
        await called(self, elsewhere(self.transport("works")))
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self._made.values():
            await each.close()


async def open_and_close(backend: BackendName) -> None:
    opened = await open_named(Profile(backend=backend))
    await opened.close()
