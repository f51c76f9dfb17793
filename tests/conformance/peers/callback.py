"""The peers of the callback transport: one that is asked until it knows, and one that brings its answers."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import Any, ClassVar
from urllib.parse import unquote

from tests.conformance.peers.serving import HttpTool, contract_answer
from tests.loopback import Request, answer

from holdfast.testing.conformance.transports.peer import TOKEN, Behaviour, Peer, Traits
from holdfast.tools.binding import ToolContext
from holdfast.tools.transports.callback import Callback, delivered
from holdfast.tools.transports.port import Transport
from holdfast.types import ToolResult, Wait

__all__ = ("PolledPeer", "PushedPeer")

_TAKEN = answer(b"", "202 Accepted")


class PolledPeer(HttpTool, Peer):
    """Says twice that it does not know yet; one that sleeps stays pending for ever."""

    traits: ClassVar[Traits] = Traits()

    def __init__(self) -> None:
        super().__init__(self._polled)
        self._asked: dict[str, dict[str, Any]] = {}
        self._looks: defaultdict[str, int] = defaultdict(int)

    def transport(self, behaviour: Behaviour) -> Transport:
        url = self.url(behaviour).replace("sleeps", "pends")
        return self.made_of(Callback(url, private=True))

    def _polled(self, behaviour: str, request: Request) -> bytes:
        method, target, _ = request.line.split()
        if method == "POST":
            asked = json.loads(request.body)
            self._asked[asked["request_id"]], self._looks[asked["request_id"]] = asked, 0
            return _TAKEN
        request_id = unquote(target.split("/")[2])
        self._looks[request_id] += 1
        if behaviour == "pends" or self._looks[request_id] < 3:
            return answer(b"", "204 No Content") if self._looks[request_id] == 1 else _TAKEN
        return answer(contract_answer(behaviour, self._asked[request_id]))


class PushedPeer(HttpTool, Peer):
    """Brings its answers to an address of ours, at which only it is let in."""

    traits: ClassVar[Traits] = Traits()

    def __init__(self) -> None:
        super().__init__(self._pushed)
        self._brought: dict[str, asyncio.Future[bytes]] = {}
        self._bringing: set[asyncio.Task[None]] = set()

    def transport(self, behaviour: Behaviour) -> Transport:
        return self.made_of(Callback(self.url(behaviour), private=True, brought=True))

    async def answered(self, wait: Wait, context: ToolContext) -> ToolResult:
        assert wait.kind == "remote"
        assert context.secrets is not None
        body = await self._brought[wait.token]
        return delivered(body, wait.token, "peer", redactor=context.secrets.redactor)

    def _pushed(self, behaviour: str, request: Request) -> bytes:
        if behaviour == "brought":
            assert request.headers["authorization"] == f"Bearer {TOKEN}"
            self._reached -= 1  # that one reached us
            self._brought[unquote(request.line.split()[1].split("/")[2])].set_result(request.body)
            return answer()
        asked = json.loads(request.body)
        self._brought[asked["request_id"]] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._bring(behaviour, asked))
        self._bringing.add(task)
        task.add_done_callback(self._bringing.discard)
        return _TAKEN

    async def _bring(self, behaviour: str, asked: dict[str, Any]) -> None:
        body = contract_answer(behaviour, asked)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        path = f"/brought/{asked['request_id'].replace('/', '%2F')}"
        head = f"POST {path} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await reader.readline()
        writer.close()
        await writer.wait_closed()
