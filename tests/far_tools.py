"""Tools that stand elsewhere, each kind with one that works and one that fails, declared as code and as data."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.peers.callback import PolledPeer, PushedPeer
from tests.conformance.peers.external import ExternalPeer
from tests.conformance.peers.grpc import GrpcPeer
from tests.conformance.peers.http import HttpPeer
from tests.conformance.peers.wasm import WasmPeer

from holdfast.testing.conformance.transports.peer import FAILURE

__all__ = ("KINDS", "Far", "module_of")

_MODULE = """
from holdfast.tools.access.profiles import Bearer
from holdfast.tools.elsewhere.declaring import remote
from holdfast.tools.transports.callback import Callback
from holdfast.tools.transports.cli import Cli
from holdfast.tools.transports.commands.running import Command
from holdfast.tools.transports.container import Container
from holdfast.tools.transports.external import External
from holdfast.tools.transports.grpc import Grpc
from holdfast.tools.transports.http import Http
from holdfast.tools.transports.wasm import Wasm

@remote({works}, isolation={isolation!r})
def works(text: str) -> str:
    '''Says the same.'''

@remote({fails}, isolation={isolation!r})
def fails(text: str) -> str:
    '''Fails.'''
"""


@dataclass
class Far:
    """Two tools of one kind: as Python that makes their transports, and as the specs of manifests."""

    works: str
    fails: str
    told: list[dict[str, Any]]
    isolation: str | None = None
    peer: Any = None
    program: str = ""
    """What the operator has to list."""

    def write(self, folder: Path, module: str) -> Path:
        """Writes a module and a file of manifests, and returns the latter."""
        text = _MODULE.format(works=self.works, fails=self.fails, isolation=self.isolation)
        (folder / f"{module}.py").write_text(text)
        schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
        documents = [
            json.dumps({"kind": "Tool", "metadata": {"name": name}, "spec": {**spec, "input_schema": schema}})
            for name, spec in zip(("works_too", "fails_too"), self.told, strict=True)
        ]
        file = folder / "tools.yaml"
        file.write_text("\n---\n".join(documents))
        return file


def module_of(folder: Path) -> str:
    """Returns a name that no other module has."""
    return f"far_{folder.name.replace('-', '_').replace('[', '_').replace(']', '_')}"


def _at(cls: str, kind: str, **more: Any) -> Callable[[Any], Far]:
    """Returns what makes the tools of a peer that has an address for each behaviour."""

    def far(peer: Any) -> Far:
        urls = [peer.url("works"), peer.url("fails")]
        said = "".join(f", {name}={value}" for name, value in more.items())
        told = [
            {"type": kind, "endpoint": url, "allowPrivate": True, **({"callback": more} if more else {})}
            for url in urls
        ]
        works, fails = (f"{cls}({url!r}, private=True{said})" for url in urls)
        return Far(works, fails, told, peer=peer)

    return far


def _grpc(peer: Any) -> Far:
    address = f"grpc://127.0.0.1:{peer._server.port}"
    methods = [f"/kit.{each}/Execute" for each in ("works", "fails")]
    told = [
        {"type": "grpc", "endpoint": address, "allowPrivate": True, "grpc": {"method": method}} for method in methods
    ]
    works, fails = (f"Grpc({address!r}, private=True, method={method!r})" for method in methods)
    return Far(works, fails, told, peer=peer)


@asynccontextmanager
async def _peered(peer: Any, far: Callable[[Any], Far]) -> AsyncGenerator[Far]:
    async with peer:
        yield far(peer)


@asynccontextmanager
async def _modules() -> AsyncGenerator[Far]:
    async with WasmPeer() as peer:
        folder = peer._folder.name
        modules = ["works.wasm", "fails.wasm"]
        limits = {"entrypoint": "_start", "fuel": 1_000_000_000}
        told = [{"type": "wasm", "wasm": {"module": module, **limits}} for module in modules]
        works, fails = (f"Wasm({module!r}, {folder!r})" for module in modules)
        yield Far(works, fails, told, peer=peer)


_SAYS = ("-c", 'printf %s "$1"', "far", "{text}")
_FAILS = ("-c", f"echo '{FAILURE}' >&2; exit 1")


@asynccontextmanager
async def _programs(isolation: str) -> AsyncGenerator[Far]:
    ways = (_SAYS, _FAILS)
    works, fails = (f"Cli(Command(program='bash', args={way!r}))" for way in ways)
    runtime = {"isolation_mode": isolation}
    told = [{"type": "cli", "cli": {"command": "bash", "args": way}, "runtime": runtime} for way in ways]
    yield Far(works, fails, told, isolation, program="bash" if isolation == "none" else "")


_SPEAKS = f"""
import json, sys
asked = json.loads(sys.stdin.readline())
said = dict(tool_contract_version="v1", request_id=asked["request_id"], status="ok")
if sys.argv[1] == "fails":
    said |= dict(status="error", error=dict(code="execution_failed", message={FAILURE!r}))
else:
    said["output"] = dict(result=asked["input"]["text"])
print(json.dumps(said))
"""


@asynccontextmanager
async def _containers() -> AsyncGenerator[Far]:
    ways = [("-I", "-c", _SPEAKS, each) for each in ("works", "fails")]
    works, fails = (f"Container(Command(program='/usr/bin/python3', args={way!r}))" for way in ways)
    told = [{"type": "container", "container": {"command": "/usr/bin/python3", "args": way}} for way in ways]
    yield Far(works, fails, told)


KINDS: dict[str, Callable[[], AbstractAsyncContextManager[Far]]] = {
    "http": lambda: _peered(HttpPeer(), _at("Http", "http")),
    "external": lambda: _peered(ExternalPeer(), _at("External", "external")),
    "callback-polled": lambda: _peered(PolledPeer(), _at("Callback", "webhook-callback")),
    "callback-pushed": lambda: _peered(PushedPeer(), _at("Callback", "webhook-callback", brought=True)),
    "grpc": lambda: _peered(GrpcPeer(), _grpc),
    "cli-host": lambda: _programs("none"),
    "cli-sandbox": lambda: _programs("sandboxed"),
    "container": _containers,
    "wasm": _modules,
}
"""Every way to a tool elsewhere; a new one is a line here."""
