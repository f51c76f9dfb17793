"""A tool that takes its time: a request is posted, and the answer is fetched later, or is brought.

The answer to the POST is final with status 200. With any other good status the call is pending: it is asked about at
`<url>/<request id>` every two seconds, where 202 and 204 say that it is still pending (source: Orloj 3.4). One that
stays pending ends with the attempt's time. A tool that brings its answers by itself is not asked about: its call waits,
as durably as one that waits for a person, and holds no task; `delivered` says what a body that was brought comes to.
"""

from __future__ import annotations

from typing import Final, final
from urllib.parse import quote

import msgspec

from holdfast.safety.redacting import Redactor
from holdfast.tools.binding import ToolFailure
from holdfast.tools.contract.checking import answered
from holdfast.tools.contract.messages import VERSION
from holdfast.tools.transports.port import MOST, Errand, Transport, Unsent, reach, too_large
from holdfast.tools.transports.sending import JSON, Sender, address_of, refused
from holdfast.types import ToolResult, Wait

__all__ = ("EVERY", "Callback", "delivered")

EVERY: Final = 2.0
"""Seconds between two looks."""
_PENDING: Final = (202, 204)


@final
class Callback(Transport):
    """Posts requests of the contract, and waits for what comes of them."""

    kind = "webhook-callback"

    def __init__(
        self, url: str, *, private: bool = False, brought: bool = False, patience: float | None = None
    ) -> None:
        """With `private` the address may be one of this machine or its networks. `brought` says that the other side
        answers by itself, within `patience` seconds; None waits for ever.
        """
        self.place = address_of(url)
        self.private = private
        self._sender = Sender(reach(private))
        self._brought = brought
        self._patience = patience

    async def send(self, errand: Errand) -> ToolResult | Wait:
        """Returns what came of the request, or the wait for it."""
        request, context = errand.request, errand.context
        name, headers = request.tool.name, {**JSON, "X-Tool-Contract-Version": VERSION, **errand.headers}
        body = msgspec.json.encode(request)
        reply = await self._sender.send(name, "POST", self.place, body, headers, errand.most)
        if (failed := refused(name, reply, errand.most, errand.hide)) is not None:
            return failed
        if reply.status == 200:
            return answered(name, reply.body, request.request_id, errand.hide)
        if self._brought:
            deadline = None if self._patience is None else context.now() + int(self._patience * 1e6)
            return Wait(request.request_id, "remote", deadline, prompt=f"{name} answers later", subject=name)
        return await self._fetched(errand, headers)

    async def _fetched(self, errand: Errand, headers: dict[str, str]) -> ToolResult:
        name, request_id = errand.request.tool.name, errand.request.request_id
        before, mark, query = self.place.partition("?")
        url = f"{before.rstrip('/')}/{quote(request_id, safe='')}{mark}{query}"
        while True:
            await errand.context.sleep(EVERY)
            try:
                reply = await self._sender.send(name, "GET", url, None, headers, errand.most)
            except Unsent as error:  # the look, and not the request that it is about
                raise _unknown(error.result) from None
            if (failed := refused(name, reply, errand.most, errand.hide)) is not None:
                if failed.error is not None and failed.error.code == "auth_invalid":
                    raise _unknown(failed)  # the request itself was taken, and is not sent again
                return failed
            if reply.status not in _PENDING:
                return answered(name, reply.body, request_id, errand.hide)

    async def close(self) -> None:
        """Closes its connections in the running event loop."""
        await self._sender.close()


def _unknown(failed: ToolResult) -> ToolFailure:
    """Returns how a look failed: of the call, which was taken, nobody knows what came."""
    code = "execution_failed" if failed.error is None else failed.error.code
    return ToolFailure(failed.content, code=code, metadata=failed.metadata)


def delivered(
    body: bytes, token: str, name: str = "tool", *, redactor: Redactor | None = None, most: int = MOST
) -> ToolResult:
    """Returns what a call comes to whose answer was brought: `token` is that of its wait, which is the id of the
    request that the body has to answer. `redactor` takes out the secrets that the call was authenticated with.

    Whoever takes such bodies in has to know already that they come from the tool: an id is no secret.
    """
    if len(body) > most:
        return too_large(name, most)
    result = answered(name, body, token, str if redactor is None else redactor.hide)
    if redactor is None:
        return result
    content, metadata = redactor.hide(result.content), redactor.hide_data(result.metadata)
    return msgspec.structs.replace(result, content=content, metadata=metadata)
