"""Every way to a tool elsewhere, by its name; a new one is a line here."""

from __future__ import annotations

from tests.conformance.peers.callback import PolledPeer, PushedPeer
from tests.conformance.peers.commands import ContainerPeer, HostPeer, SandboxPeer
from tests.conformance.peers.external import ExternalPeer
from tests.conformance.peers.grpc import GrpcPeer
from tests.conformance.peers.http import HttpPeer
from tests.conformance.peers.wasm import WasmPeer

from holdfast.testing.conformance.transports.peer import Peer

__all__ = ("PEERS",)

PEERS: dict[str, type[Peer]] = {
    "http": HttpPeer,
    "external": ExternalPeer,
    "callback-polled": PolledPeer,
    "callback-pushed": PushedPeer,
    "cli-host": HostPeer,
    "cli-sandbox": SandboxPeer,
    "container": ContainerPeer,
    "grpc": GrpcPeer,
    "wasm": WasmPeer,
}
"""What opens the peer; a peer whose library or program is not installed skips when it is opened."""
