"""What a runtime offers of tokens: how many a prompt would send, before anybody sends it."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.context.assembling import assemble
from holdfast.engine.attempt import receive
from holdfast.engine.events import CODEC, InputReceived
from holdfast.engine.folding import replay
from holdfast.errors import UsageError
from holdfast.journal.port import Journal
from holdfast.journal.reading import read_events
from holdfast.models.counting import TokenCount, count_tokens
from holdfast.models.estimating import TokenEstimator
from holdfast.runtime.binding import Binder
from holdfast.runtime.bound import BoundAgent, showing_of
from holdfast.runtime.speaking import said
from holdfast.types import Message, StreamId, TenantId, UserMessage, UserPart, stream_id

__all__ = ("Counts",)


class Counts:
    """What a runtime knows of tokens."""

    journal: Journal
    _bindings: Binder
    _tenant: TenantId

    @property
    def estimator(self) -> TokenEstimator:
        """What was learned of the models that were asked here: tokens by bytes."""
        return self._bindings.models.estimator

    async def count_tokens(
        self,
        agent: BoundAgent,
        text: str | Sequence[str | UserPart] = "",
        *,
        session: str | None = None,
        history: Sequence[Message] = (),
        ask: bool = False,
    ) -> TokenCount:
        """Returns the input tokens of the request that a prompt would lead to, of the model that is asked first.

        Nothing is said, written or spent. The count is an estimate, rather too many, that learns from each call made
        here; with `ask` the provider counts, where it can (Anthropic, OpenAI by its Responses, Google, Bedrock).

        Args:
            agent: Who would answer.
            text: What would be wanted; nothing counts the conversation as it is.
            session: Whose history goes before it, with what was said there and not heard yet; none without.
            history: A conversation that was had elsewhere and goes before all that, as for `go_on`.
            ask: Let the provider count, which is a request of its own; where it cannot, the count is an estimate.

        Raises:
            AuthFailed: the provider was to be asked and does not take the key.
            UnknownModel, InputTooLarge, UsageError: see their messages.
        """
        if not agent.spec.model:
            raise UsageError("a pipeline asks no model itself: count for one of the agents that it gives jobs to")
        messages, spoken = ([], {}) if session is None else await self.__heard(stream_id(self._tenant, session))
        if history:
            spoken = {at: True for at, each in enumerate(history) if isinstance(each, UserMessage)} | {
                len(history) + at: prompt for at, prompt in spoken.items()
            }
            messages = [*history, *messages]
        if text:
            spoken[len(messages)] = True
            messages.append(said(text))
        showing = showing_of(agent)
        tools = None if showing is None else showing.tools(messages, spoken)
        target = self._bindings.chain(agent.spec.model, own=agent.own).first
        request = target.request(assemble(agent.spec, messages, tools=tools))
        return await count_tokens(target.model, request, self.estimator, ask=ask, window=target.window)

    async def __heard(self, stream: StreamId) -> tuple[list[Message], dict[int, bool]]:
        """Returns a session's conversation, with what was said and is not heard yet, and where people speak in it."""
        head = await self.journal.head(stream)
        if head is None:
            return [], {}
        mail = await self.journal.mail(stream, head.inbox_taken)
        events = [event async for event in read_events(self.journal, stream, CODEC)]
        state, taken = replay(events), {event.cause for event in events}  # some of it may have been taken meanwhile
        unread = [each for letter in mail if letter.key not in taken for each in receive(letter)]
        heard = [*state.queue.values(), *(each for each in unread if isinstance(each, InputReceived))]
        for each in heard:
            state.messages += each.history
            if each.message.parts:
                state.said[len(state.messages)] = each.kind not in ("steer", "follow_up")
                state.messages.append(each.message)
        return state.messages, state.said
