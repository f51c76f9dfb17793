"""OpenAI, and every server that speaks its Chat Completions.

Address and key come from the variables the official client reads: `OPENAI_BASE_URL`, `OPENAI_API_KEY`,
`OPENAI_ORG_ID` and `OPENAI_PROJECT_ID`. Servers of one's own often want no key, so only OpenAI itself is not
called without one. The address is the operator's word: the client it is called with has the trusted policy.

Not here: the protocol (`wire/chat`), retries (the loop), money (`calling`).
Invariants: leaving the stream in any way gives the connection back or drops it; nothing is sent without a key
that is needed; what the stream raises is a `ModelError`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import final

import msgspec

from holdfast.errors import AuthFailed, ModelError, NetError
from holdfast.flow.clock import Clock, SystemClock
from holdfast.flow.interrupting import Interruptible
from holdfast.models.catalogue import ModelCard
from holdfast.models.failures import Origin, failure_from, failure_of
from holdfast.models.port import Model, ModelRequest
from holdfast.models.wire.chat.requests import Encoder
from holdfast.models.wire.chat.streaming import MAX_CHARS, Parser
from holdfast.net.client import HttpClient
from holdfast.net.exchange import Exchange
from holdfast.types import AssistantMessage, Delta, Price, Usage

__all__ = ("DEFAULT_URL", "OpenAIModel")

DEFAULT_URL = "https://api.openai.com/v1"
"""Where OpenAI is, unless `OPENAI_BASE_URL` says something else."""

_LINGER = 0.5
"""Seconds a server gets to close a stream it said is over; then its connection is dropped instead of kept."""
_REFUSAL_BYTES = 64 * 1024


@final
class OpenAIModel(Model):
    """One model of a server that speaks Chat Completions, for one run."""

    def __init__(
        self,
        name: str,
        client: HttpClient,
        *,
        url: str = DEFAULT_URL,
        key: str = "",
        headers: Mapping[str, str] | None = None,
        card: ModelCard | None = None,
        max_chars: int = MAX_CHARS,
        clock: Clock | None = None,
    ) -> None:
        self._origin = Origin(
            provider="openai",
            model=name,
            url=url,
            key_variable="OPENAI_API_KEY",
            url_variable="OPENAI_BASE_URL",
            secret=key,
        )
        self._client = client
        self._endpoint = url.rstrip("/") + "/chat/completions"
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._card = card
        self._max_chars = max_chars
        self._clock = clock or SystemClock()
        self._encoder = Encoder(name)
        self._source: OpenAIModel | None = None

    def fresh(self) -> OpenAIModel:
        """Returns the same model for another run."""
        twin = object.__new__(OpenAIModel)
        twin.__dict__.update(self.__dict__)
        twin._encoder = self._encoder.fresh()
        twin._source = self._source or self
        return twin

    @classmethod
    def from_env(
        cls, name: str, client: HttpClient, env: Mapping[str, str], card: ModelCard | None = None
    ) -> OpenAIModel:
        """Returns the model at the address and with the key that the environment names."""
        named = (("OpenAI-Organization", "OPENAI_ORG_ID"), ("OpenAI-Project", "OPENAI_PROJECT_ID"))
        return cls(
            name,
            client,
            url=env.get("OPENAI_BASE_URL", "").strip().rstrip("/") or DEFAULT_URL,
            key=env.get("OPENAI_API_KEY", "").strip(),
            headers={header: value for header, variable in named if (value := env.get(variable, "").strip())},
            card=card,
        )

    @property
    def name(self) -> str:
        """`openai/name`."""
        return self._origin.name

    @property
    def price(self) -> Price | None:
        """What it costs; None when nobody knows."""
        return self._card.price if self._card else None

    @property
    def max_output_tokens(self) -> int | None:
        """The longest answer it can give; None when nobody knows."""
        return self._card.max_output_tokens if self._card else None

    def size(self, request: ModelRequest) -> int:
        """Returns the length of the request in bytes.

        A token stands for at least one byte of what it was made from, so there are never more tokens than bytes,
        whatever the tokenizer. What a server adds of its own (roles, the frame around tools) is less than the
        JSON it replaces. A tighter bound would have to know the tokenizer.
        """
        return self._encoder.size(request)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[list[Delta] | AssistantMessage, None]:
        """Yields lists of deltas, one for each read from the network, then the whole message, last.

        An answer that has its finish reason is whole even if the connection breaks before the usage came.

        Raises:
            ModelError: instead of the message.
        """
        self.check()
        body = self._body(request)
        parser = Parser(
            self._origin, turn=len(request.messages), taken=self._encoder.call_ids, max_chars=self._max_chars
        )
        try:
            async with self._client.post(self._endpoint, body, self._headers) as answer:
                if not 200 <= answer.status < 300:
                    raise await self._refusal(answer)
                async for data in answer:
                    deltas = parser.feed(data)
                    if deltas:
                        yield deltas
                    if parser.done:
                        await _run_out(answer, self._clock)
                        break
                deltas = parser.end()
                if deltas:
                    yield deltas
        except NetError as error:
            if not parser.is_whole:
                raise failure_from(self._origin, error) from error
        message = parser.message()
        if not parser.is_metered:
            message = msgspec.structs.replace(message, usage=self._bound_of(request, message))
        yield message

    def _body(self, request: ModelRequest) -> bytes:
        body = self._encoder.encode(request)
        if self._source is not None:
            # What every conversation of this agent begins with is encoded now: later runs start from it.
            self._source._encoder, self._source = self._encoder.fresh(), None
        return body

    def check(self) -> None:
        """Raises when a call cannot succeed.

        Raises:
            AuthFailed: a key is needed and there is none, or it is none.
        """
        key = self._origin.secret
        if not key and self._origin.url == DEFAULT_URL:
            raise AuthFailed(
                f"{self.name!r} needs a key and there is none; set OPENAI_API_KEY, "
                "or OPENAI_BASE_URL if you mean a server of your own"
            )
        if not (key.isascii() and key.isprintable()):
            raise AuthFailed(
                f"the key for {self.name!r} holds characters that no key has; set OPENAI_API_KEY to the key alone"
            )

    async def _refusal(self, answer: Exchange) -> ModelError:
        pieces: list[bytes] = []
        size = 0
        try:
            async for data in answer:
                pieces.append(data)
                size += len(data)
                if size > _REFUSAL_BYTES:
                    break
        except NetError:
            pass  # the status says enough
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return failure_of(self._origin, answer.status, headers, b"".join(pieces)[:_REFUSAL_BYTES])

    def _bound_of(self, request: ModelRequest, message: AssistantMessage) -> Usage:
        """Returns the most a call can have used, for a server that does not say what it did."""
        said = len(msgspec.json.encode(message.parts))
        cap = request.max_output_tokens
        bare = msgspec.structs.replace(
            request, max_output_tokens=None
        )  # what was reserved did not count the cap itself
        return Usage(self.size(bare), said if cap is None else min(said, cap))


async def _run_out(answer: Exchange, clock: Clock) -> None:
    """Reads to the end, so that the connection can be used again; a server that does not end loses it."""
    if answer.ended:
        return
    try:
        with Interruptible(clock, _LINGER):
            async for _ in answer:
                pass
    except NetError:
        return
