"""The peer of the external transport: a service that speaks the contract."""

from __future__ import annotations

import json
from typing import ClassVar

from tests.conformance.peers.serving import HttpTool, contract_answer
from tests.loopback import Request, answer

from holdfast.testing.conformance.transports.peer import Behaviour, Peer, Traits
from holdfast.tools.transports.external import External
from holdfast.tools.transports.port import Transport

__all__ = ("ExternalPeer",)


class ExternalPeer(HttpTool, Peer):
    traits: ClassVar[Traits] = Traits()

    def __init__(self) -> None:
        super().__init__(_well)

    def transport(self, behaviour: Behaviour) -> Transport:
        return self.made_of(External(self.url(behaviour), private=True))


def _well(behaviour: str, request: Request) -> bytes:
    assert request.headers["x-tool-contract-version"] == "v1"
    return answer(contract_answer(behaviour, json.loads(request.body)))
