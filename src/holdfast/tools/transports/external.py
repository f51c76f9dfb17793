"""A tool in a service of its own that speaks the contract: a request is posted, and the answer is one by it.

An answer with the status of an error counts as what its body says, where that is an answer by the contract.
"""

from __future__ import annotations

from typing import final

import msgspec

from holdfast.tools.contract.checking import ContractBroken, answer_of, answered, result_of
from holdfast.tools.contract.messages import VERSION
from holdfast.tools.transports.port import Errand, Transport, reach
from holdfast.tools.transports.sending import JSON, Sender, address_of, refused
from holdfast.types import ToolResult

__all__ = ("External",)


@final
class External(Transport):
    """Posts requests of the contract to a service."""

    kind = "external"

    def __init__(self, url: str, *, private: bool = False) -> None:
        """With `private` the address may be one of this machine or its networks."""
        self.place = address_of(url)
        self.private = private
        self._sender = Sender(reach(private))

    async def send(self, errand: Errand) -> ToolResult:
        """Returns what the service answered."""
        request = errand.request
        name, headers = request.tool.name, {**JSON, "X-Tool-Contract-Version": VERSION, **errand.headers}
        body = msgspec.json.encode(request)
        reply = await self._sender.send(name, "POST", self.place, body, headers, errand.most)
        failed = refused(name, reply, errand.most, errand.hide)
        if failed is None:
            return answered(name, reply.body, request.request_id, errand.hide)
        try:
            said = result_of(name, answer_of(reply.body, request.request_id), errand.hide)
        except ContractBroken:
            return failed
        return failed if said.error is None else said

    async def close(self) -> None:
        """Closes its connections in the running event loop."""
        await self._sender.close()
