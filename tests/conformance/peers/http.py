"""The peer of the http transport: whatever it answers is the result."""

from __future__ import annotations

import json
from typing import ClassVar

from tests.conformance.peers.serving import HttpTool
from tests.loopback import Request, answer

from holdfast.testing.conformance.transports.peer import FAILURE, Behaviour, Peer, Traits
from holdfast.tools.transports.http import Http
from holdfast.tools.transports.port import Transport

__all__ = ("HttpPeer",)


class HttpPeer(HttpTool, Peer):
    traits: ClassVar[Traits] = Traits(lies=())

    def __init__(self) -> None:
        super().__init__(_well)

    def transport(self, behaviour: Behaviour) -> Transport:
        return self.made_of(Http(self.url(behaviour), private=True))


def _well(behaviour: str, request: Request) -> bytes:
    if behaviour == "fails":
        return answer(FAILURE.encode(), "500 Internal Server Error")
    return answer(json.loads(request.body)["text"].encode())
