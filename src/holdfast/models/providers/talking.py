"""A model at the other end of an HTTP connection: what is the same for every provider and every wire.

Not here: the protocol (an `Encoder` and an `AnswerParser` of `wire/`), keys and addresses (the provider), retries (the
loop), money (`calling`).
Invariants: leaving the stream in any way gives the connection back or drops it; nothing is sent that `check` refuses;
what the stream raises is a `ModelError`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, Self, TypeVar

import msgspec

from holdfast.errors import AuthFailed, ModelError, NetError
from holdfast.flow.clock import Clock, SystemClock
from holdfast.flow.interrupting import Interruptible
from holdfast.models.catalogue import ModelCard
from holdfast.models.failures import Origin, failure_from, failure_of
from holdfast.models.port import Model, ModelRequest
from holdfast.models.wire.reading import MAX_CHARS, AnswerParser
from holdfast.net.client import HttpClient
from holdfast.types import AssistantMessage, Delta, Price, ToolSpec, Usage

if TYPE_CHECKING:
    from holdfast.net.exchange import Exchange

__all__ = ("HttpModel", "RequestEncoder", "check_key")

_LINGER = 0.5
"""Seconds a server gets to close a stream it said is over; then its connection is dropped instead of kept."""
_REFUSAL_BYTES = 64 * 1024
_LARGEST_WINDOW = 1_050_000
"""Tokens of the longest context window of any model in the catalogue, for those whose window is unknown."""


class RequestEncoder(Protocol):
    """Makes the bodies of one model's requests, and may keep what it encoded before."""

    images: int
    """How many images the conversation encoded last holds."""
    pdfs: int
    """How many PDF documents it holds."""

    def fresh(self) -> Self:
        """Returns an encoder of the same model that knows no conversation yet."""
        ...

    def encode(self, request: ModelRequest) -> bytes:
        """Returns the body of a streaming request."""
        ...

    def size(self, request: ModelRequest) -> int:
        """Returns an upper bound of the length of `encode(request)` in bytes, without making it."""
        ...

    @property
    def call_ids(self) -> AbstractSet[str]:
        """The ids of all calls in the conversation encoded last."""
        ...


E = TypeVar("E", bound=RequestEncoder)


class HttpModel(Model, Generic[E]):
    """One model of a provider, for one run; a provider adds its keys, its address and its wire."""

    image_tokens: ClassVar[int]
    """The most tokens any of the provider's models counts for one image."""

    def __init__(
        self,
        origin: Origin,
        client: HttpClient,
        endpoint: str,
        encoder: E,
        *,
        headers: Mapping[str, str],
        card: ModelCard | None = None,
        max_chars: int = MAX_CHARS,
        clock: Clock | None = None,
    ) -> None:
        self._origin = origin
        self._client = client
        self._endpoint = endpoint
        self._encoder = encoder
        self._headers = headers
        self._card = card
        self._max_chars = max_chars
        self._clock = clock or SystemClock()
        self._source: Self | None = None
        self._begins: tuple[str, tuple[ToolSpec, ...]] = ("", ())
        """The instructions and tools that conversations began with lately."""

    @abstractmethod
    def check(self) -> None:
        """Raises when a call cannot succeed.

        Raises:
            AuthFailed: a key is needed and there is none, or it is none.
        """

    @abstractmethod
    def _parser(self, request: ModelRequest) -> AnswerParser:
        """Returns what reads the answer to a request that is encoded already."""

    def _headers_of(self, request: ModelRequest) -> Mapping[str, str]:
        """Returns the headers of a request."""
        return self._headers

    def fresh(self) -> Self:
        """Returns the same model for another run."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._encoder = self._encoder.fresh()
        twin._source = self._source or self
        return twin

    @property
    def name(self) -> str:
        """`provider/name`."""
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
        """Returns the length of the request in bytes, and what images and documents may cost beyond theirs.

        A token of text stands for at least one byte of what it was made from, so there are never more tokens than
        bytes, whatever the tokenizer. What a server adds of its own (roles, the frame around tools) is less than the
        JSON it replaces. A tighter bound would have to know the tokenizer.

        An image is counted by its pixels, which its bytes do not bound, so each adds the most any image costs. A PDF
        document can hold any amount of text in few bytes, so with one the model's whole window is added: no request
        that is accepted is longer.
        """
        encoder = self._encoder
        size = encoder.size(request)
        if encoder.images:
            size += encoder.images * self.image_tokens
        if encoder.pdfs:
            size += (self._card.context_window if self._card else None) or _LARGEST_WINDOW
        return size

    async def stream(self, request: ModelRequest) -> AsyncGenerator[list[Delta] | AssistantMessage, None]:
        """Yields lists of deltas, one for each read from the network, then the whole message, last.

        An answer that has its stop reason is whole even if the connection breaks before the usage came.

        Raises:
            ModelError: instead of the message.
        """
        self.check()
        body = self._body(request)
        parser = self._parser(request)
        try:
            async with self._client.post(self._endpoint, body, self._headers_of(request)) as answer:
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
        if (source := self._source) is not None:
            self._source = None
            if source._begins != (begins := (request.instructions, request.tools)):
                # What every conversation of this agent begins with is encoded now: later runs start from it.
                source._begins, source._encoder = begins, self._encoder.fresh()
        return body

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
        # What was reserved did not count the cap itself.
        bare = msgspec.structs.replace(request, max_output_tokens=None)
        return Usage(self.size(bare), said if cap is None else min(said, cap))


def check_key(origin: Origin, own_url: str) -> None:
    """Ends quietly when a call may succeed; a server of one's own often wants no key.

    Raises:
        AuthFailed: a key is needed and there is none, or it is none; says which variable to set.
    """
    key = origin.secret
    if not key and origin.url == own_url:
        raise AuthFailed(
            f"{origin.name!r} needs a key and there is none; set {origin.key_variable}, "
            f"or {origin.url_variable} if you mean a server of your own"
        )
    if not (key.isascii() and key.isprintable()):
        raise AuthFailed(
            f"the key for {origin.name!r} holds characters that no key has; set {origin.key_variable} to the key alone"
        )


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
