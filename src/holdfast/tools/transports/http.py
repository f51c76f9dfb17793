"""A tool behind an address: the arguments are posted as they are, and what comes back is the result.

A body that is a JSON object with a `status` of the contract is read as an answer by the contract, any other as the
result's text (source: Orloj 3.4).
"""

from __future__ import annotations

from typing import final

import msgspec

from holdfast.tools.contract.checking import ContractBroken, answer_of, result_of
from holdfast.tools.contract.messages import VERSION
from holdfast.tools.transports.port import Errand, Transport, reach
from holdfast.tools.transports.sending import JSON, Sender, address_of, refused
from holdfast.types import ToolResult

__all__ = ("Http",)


class _Status(msgspec.Struct):
    status: str = ""
    tool_contract_version: str = VERSION
    request_id: str | None = None


@final
class Http(Transport):
    """Posts the arguments to an address."""

    kind = "http"

    def __init__(self, url: str, *, private: bool = False) -> None:
        """With `private` the address may be one of this machine or its networks."""
        self.place = address_of(url)
        self.private = private
        self._sender = Sender(reach(private))

    async def send(self, errand: Errand) -> ToolResult:
        """Returns what the address answered."""
        request = errand.request
        name, headers = request.tool.name, {**JSON, "Idempotency-Key": request.request_id, **errand.headers}
        reply = await self._sender.send(name, "POST", self.place, request.input_raw.encode(), headers, errand.most)
        if (failed := refused(name, reply, errand.most, errand.hide)) is not None:
            return failed
        if (answered := _by_contract(reply.body, request.request_id)) is None:
            return ToolResult(reply.body.decode("utf-8", "replace"))
        try:
            return result_of(name, answer_of(answered, request.request_id), errand.hide)
        except ContractBroken:
            return ToolResult(reply.body.decode("utf-8", "replace"))  # an object of its own that has a `status`, too

    async def close(self) -> None:
        """Closes its connections in the running event loop."""
        await self._sender.close()


def _by_contract(body: bytes, request_id: str) -> bytes | None:
    """Returns a body that is an answer by the contract, with what may be left out of it here."""
    try:
        found = msgspec.json.decode(body, type=_Status)
        if found.status not in ("ok", "error", "denied"):
            return None
        whole = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    whole.setdefault("tool_contract_version", msgspec.Raw(f'"{VERSION}"'.encode()))
    whole.setdefault("request_id", msgspec.Raw(msgspec.json.encode(request_id)))
    return msgspec.json.encode(whole)
