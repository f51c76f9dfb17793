"""Answers that tools elsewhere bring by themselves, from whoever takes them in to the call that waits for them."""

from __future__ import annotations

from holdfast.engine.events import ToolWaiting
from holdfast.errors import UnknownSession, UnknownWait, UsageError
from holdfast.journal.port import Journal
from holdfast.runtime.binding import Binder
from holdfast.runtime.history.waiting import asked_under, tool_of
from holdfast.runtime.speaking import Receipt, Speaking
from holdfast.tools.results import bounded
from holdfast.types import StreamId, TenantId, ToolSpec, stream_id

__all__ = ("Brings",)

_USUAL = ToolSpec(name="tool", description="", parameters={})


class Brings:
    """What a runtime takes in of tools that bring their answers."""

    journal: Journal
    _bindings: Binder
    _tenant: TenantId

    async def bring_answer(self, token: str, body: bytes) -> Receipt:
        """Gives a call of a tool elsewhere what the tool brought: an answer by the contract to the request whose id is
        `token`, wherever its session is driven. The first one counts, also where it breaks the contract: then the call
        failed, and the model reads why. One that is quicker than the word that it is waited for is kept.

        An id is no secret: whoever takes bodies in has to know already that they come from the tool. Secrets are taken
        out of it that calls of this runtime were authenticated with.

        Raises:
            UsageError: no call of this tenant has such an id.
            UnknownSession: its session is not in this store.
            UnknownWait: what waits under it is no tool's to answer.
        """
        from holdfast.tools.transports.callback import delivered

        tenant, _, rest = token.partition("/")
        session, slash, _ = rest.partition("/")
        if tenant != self._tenant or not slash:
            raise UsageError(
                f"{token[:200]!r} is no id of a request of {self._tenant!r}: send the one that was asked with"
            )
        stream = stream_id(tenant, session)
        if await self.journal.head(stream) is None:
            raise UnknownSession(f"there is no session {session!r} in this store: bring it to where the call was made")
        spec = await self._asking(stream, token)
        result = delivered(body, token, spec.name, redactor=self._bindings.secrets.redactor)
        content = result.content
        if len(content) > spec.max_output:
            content = bounded(content, spec.max_output, "ask for less at a time")
        speaking = Speaking(self.journal, stream, f"tool:{spec.name}")
        return await speaking.answer(token, content, error=result.error)

    async def _asking(self, stream: StreamId, token: str) -> ToolSpec:
        """Returns the tool whose call waits, or one of no name where nothing waits yet, or any more."""
        try:
            asked = await asked_under(self.journal, stream, token)
        except UnknownWait:
            return _USUAL
        if not isinstance(asked, ToolWaiting) or asked.wait.kind != "remote":
            raise UnknownWait(f"what waits under {token[:200]!r} is asked of a person, and no tool answers it")
        return await tool_of(self.journal, stream, asked.wait.subject) or _USUAL
