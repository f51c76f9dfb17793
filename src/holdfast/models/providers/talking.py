"""A model at the other end of an HTTP connection: what is the same for every provider and every wire.

Not here: the protocol (an `Encoder` and an `AnswerParser` of `wire/`), keys and addresses (the provider), credentials
that are fetched or change (a `Keeper`, see `models/access/`), retries (the loop), money (`calling`).
Invariants: leaving the stream in any way gives the connection back or drops it; nothing is sent that `check` refuses;
what the stream raises is a `ModelError`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

import msgspec

from holdfast.errors import AuthFailed, ModelError, ModelTimeout, NetError
from holdfast.flow.clock import Clock, SystemClock
from holdfast.flow.interrupting import Interruptible
from holdfast.models.catalogue import ModelCard
from holdfast.models.estimating import SHORTEST, TokenEstimator
from holdfast.models.failures import Origin, excerpt, failure_from, failure_of
from holdfast.models.pacing import Pace
from holdfast.models.port import Model, ModelRequest
from holdfast.models.thinking import BUDGETS, level_for
from holdfast.models.wire.counting import Counting
from holdfast.models.wire.naming import Names
from holdfast.models.wire.reading import MAX_CHARS, AnswerParser
from holdfast.net.client import HttpClient
from holdfast.types import AssistantMessage, Delta, Price, ToolSpec, Usage

if TYPE_CHECKING:
    from holdfast.net.exchange import Exchange

__all__ = ("HttpModel", "Keeper", "ParserOf", "RequestEncoder", "check_key")

_LINGER = 0.5
"""Seconds a server gets to close a stream it said is over; then its connection is dropped instead of kept."""
_SHORT_BYTES = 64 * 1024
"""What is read of a refusal, or of a count, at most."""
_COUNTED_WITHIN = 30.0
"""Seconds a server has to count; nothing waits for it that could not do without."""
_LARGEST_WINDOW = 10_000_000
"""Tokens of the longest context window of any model in the catalogue, for those whose window is unknown."""
_REFUSED_KEYS = (400, 401, 403)
"""Statuses of a key that is not accepted; Google's is 400."""


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
    def names(self) -> Names:
        """What the tools are called there."""
        ...

    @property
    def call_ids(self) -> AbstractSet[str]:
        """The ids of all calls in the conversation encoded last."""
        ...


class ParserOf(Protocol):
    """Makes what reads one answer; each wire's parser is one."""

    def __call__(
        self, origin: Origin, turn: int, taken: AbstractSet[str], name_of: Callable[[str], str], max_chars: int, /
    ) -> AnswerParser:
        """Returns a parser for turn `turn` of a conversation, in which no call may have an id of those `taken`."""
        ...


class Keeper(Protocol):
    """Knows the credentials of a model: those that are fetched, and what they are after they changed."""

    fetches: bool
    """Whether `ready` has to be asked before each request, and not only when something changed."""

    async def ready(self, model: HttpModel[Any]) -> None:
        """Gives a model what it is to be asked with now.

        Raises:
            ModelError: there is nothing to ask it with.
        """
        ...

    async def renewed(self, model: HttpModel[Any], status: int) -> bool:
        """Looks again at what was refused with a status; returns whether there is something else now, which the model
        has then.

        Raises:
            ModelError: it could not be looked at.
        """
        ...


E = TypeVar("E", bound=RequestEncoder)


class HttpModel(Model, Generic[E]):
    """One model of a provider, for one run; a provider adds its keys, its address and its wire."""

    parser: ClassVar[ParserOf]
    """Makes what reads an answer of its wire."""
    image_tokens: ClassVar[int]
    """The most tokens any of the provider's models counts for one image."""
    prepares: ClassVar[bool] = False
    """Whether a request has to be waited for before it is sent: `_prepared` is asked for address and headers then."""
    counting: Counting | None = None
    """How its server is asked for the tokens of a request; None where it is not."""

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
        self.pace = Pace(self._clock)
        """How fast its key is used; every model of that key shares it."""
        self.estimator: TokenEstimator | None = None
        """Learns how many tokens what is sent came to."""
        self.keeper: Keeper | None = None
        """Whom its credentials are from, where they may change while it is used."""
        self.unchanged: Callable[[], bool] = _always
        """Whether what its credentials were made from is as it was."""
        self._added: Mapping[str, str] = {}
        """Headers that are sent beside its own."""
        self._source: Self | None = None
        self._begins: tuple[str, tuple[ToolSpec, ...]] = ("", ())
        """The instructions and tools that conversations began with lately."""
        self._sound: Origin | None = None
        """The origin, once it was found that calls to it can succeed."""

    def check(self) -> None:
        """Raises when a call cannot succeed.

        Raises:
            AuthFailed: a key is needed and there is none, or it is none.
            InvalidRequest: nobody said where the provider is.
        """
        if self._sound is not self._origin:
            self._check()
            self._sound = self._origin

    @abstractmethod
    def _check(self) -> None:
        """Raises when a call to this origin cannot succeed; asked again only when that is another one."""

    def _parser(self, request: ModelRequest) -> AnswerParser:
        """Returns what reads the answer to a request that is encoded already."""
        encoder = self._encoder
        turn = len(request.messages)
        return self.parser(self._origin, turn, encoder.call_ids, encoder.names.own, self._max_chars)

    def _headers_of(self, request: ModelRequest) -> Mapping[str, str]:
        """Returns the headers of a request."""
        return self._headers

    def add_headers(self, headers: Mapping[str, str], secrets: Sequence[str] = ()) -> None:
        """Sends these headers, too; a value for one that is sent anyway comes behind that, with a comma between, which
        means the same as the header twice (RFC 9110, 5.3).

        No error shows any of `secrets`.
        """
        self._added = headers
        self._origin = msgspec.structs.replace(self._origin, others=(*self._origin.others, *secrets))

    def has_key_from(self, place: str, key: str = "") -> None:
        """Lets errors name the place that its key is from, where that is no variable of the environment."""
        self._origin = msgspec.structs.replace(self._origin, key_variable=place, secret=key or self._origin.secret)

    def adopt(self, other: Self) -> None:
        """Is asked from now on where and as `other` is; what it knows of its conversation stays."""
        mine = {name: value for name, value in self.__dict__.items() if name in _OWN}
        self.__dict__.update({**other.__dict__, **mine})

    def is_asked_as(self, other: Self) -> bool:
        """Whether it is asked where and as `other` is: nothing was gained by asking that one."""
        return (self._endpoint, self._headers, self._added) == (other._endpoint, other._headers, other._added)

    @property
    def origin(self) -> Origin:
        """Whose answers it gives, for errors."""
        return self._origin

    @property
    def lane(self) -> tuple[str, str, str]:
        """Whose rate its requests count for: provider, address and key."""
        return self._origin.provider, self._origin.url, self._origin.secret

    async def _prepared(self, request: ModelRequest, body: bytes, counting: Counting | None = None) -> str:
        """Returns where a request goes, once its headers are known to `_sent`; asked only where the class `prepares`.
        With `counting` it is asked for a count.

        Raises:
            ModelError: it cannot be sent.
        """
        return self._endpoint

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
        if (waits := self._begin()) is not None:
            await waits
        with self.pace:
            for keeper in (self.keeper, None):  # a second time only with other credentials
                parser = self._parser(request)
                try:
                    where = await self._prepared(request, body) if self.prepares else self._endpoint
                    async with self._client.post(where, body, self._sent(request)) as answer:
                        if not 200 <= answer.status < 300:
                            await self._refused(answer, keeper)
                            continue
                        async for data in answer:
                            deltas = parser.feed(data)
                            if deltas:
                                yield deltas
                            if parser.done:
                                if not answer.ended:
                                    await _run_out(answer, self._clock)
                                break
                        deltas = parser.end()
                        if deltas:
                            yield deltas
                except NetError as error:
                    self._check_whole(parser, error)
                yield self._message(request, parser, len(body))
                return

    async def count(self, request: ModelRequest) -> int | None:
        """Returns the input tokens of a request as its server counts them; None where there is no place to ask.

        Costs nothing but time, and waits for its turn like a call.

        Raises:
            ModelError: there is no answer, or none that says a count.
        """
        if self.counting is None:
            return None
        self.check()
        with Interruptible(self._clock, _COUNTED_WITHIN):
            return await self._count(request, self.counting)
        raise ModelTimeout(f"{self.name!r}: no count of tokens came within {_COUNTED_WITHIN:.0f} s: estimate instead")

    async def _count(self, request: ModelRequest, counting: Counting) -> int:
        body, said = counting.body(self._body(request)), bytearray()
        if (waits := self._begin()) is not None:
            await waits
        with self.pace:
            for keeper in (self.keeper, None):  # a second time only with other credentials
                try:
                    prepared = await self._prepared(request, body, counting) if self.prepares else ""
                    where = prepared or counting.address(self._endpoint)
                    async with self._client.post(where, body, self._sent(request)) as answer:
                        if not 200 <= answer.status < 300:
                            await self._refused(answer, keeper)
                            continue
                        await _take(answer, said)
                except NetError as error:
                    raise failure_from(self._origin, error) from error
                break
        if (tokens := counting.read(bytes(said))) is None:
            raise self._origin.malformed(f"no count of tokens: {excerpt(bytes(said))}")
        return tokens

    def _begin(self) -> Coroutine[Any, Any, None] | None:
        """Takes a place in the pace; returns what has to be waited for where credentials or a place are."""
        keeper = self.keeper
        if keeper is not None and (keeper.fetches or not self.unchanged()):
            return self._get_ready(keeper)
        pace = self.pace
        return None if pace.enter() else pace.wait(self._origin.name)

    async def _get_ready(self, keeper: Keeper) -> None:
        await keeper.ready(self)
        pace = self.pace
        if not pace.enter():
            await pace.wait(self._origin.name)

    def _sent(self, request: ModelRequest) -> Mapping[str, str]:
        """Returns the headers of a request, those that were added among them."""
        headers = self._headers_of(request)
        if not self._added:
            return headers
        joined = {name.lower(): value for name, value in headers.items()}
        for name, value in self._added.items():
            before = joined.get(name.lower())
            joined[name.lower()] = value if before is None else f"{before}, {value}"
        return joined

    async def _refused(self, answer: Exchange, keeper: Keeper | None) -> None:
        """Raises what a refusal means, unless it was about credentials, and there are others by now."""
        refusal = await self._refusal(answer)
        about_key = isinstance(refusal, AuthFailed) and answer.status in _REFUSED_KEYS
        if keeper is None or not about_key or not await keeper.renewed(self, answer.status):
            raise refusal

    def _check_whole(self, parser: AnswerParser, error: NetError) -> None:
        """Raises what a broken connection means, unless the answer was whole by then."""
        if not parser.is_whole:
            raise failure_from(self._origin, error) from error

    def _message(self, request: ModelRequest, parser: AnswerParser, size: int) -> AssistantMessage:
        """Returns the answer to so many bytes, with a bound of what it used where the server does not say that."""
        message = parser.message()
        if not (message.usage.input_tokens or parser.is_metered):
            return msgspec.structs.replace(message, usage=self._bound_of(request, message))
        if size >= SHORTEST and self.estimator is not None and not self._is_more_than_text(request):
            self.estimator.learn(self._origin.name, size, message.usage.input_tokens)
        return message

    def _is_more_than_text(self, request: ModelRequest) -> bool:
        """Whether something counts as input that is no text of the request which was encoded last."""
        return bool(self._encoder.images or self._encoder.pdfs or request.provider_tools)

    def _levelled(self, request: ModelRequest) -> ModelRequest:
        """Returns the request with a level of thinking that the model has; without one where it does not think."""
        levels = self._card.thinking if self._card else None
        assert request.thinking is not None
        level = None if levels == () else level_for(request.thinking, levels)
        cap = request.max_output_tokens
        if level is not None and cap is not None and (more := BUDGETS[level] - BUDGETS[request.thinking]) > 0:
            cap = max(1, cap - more)  # it cannot think so little, and what was reserved has to do
        return msgspec.structs.replace(request, thinking=level, max_output_tokens=cap)

    def _body(self, request: ModelRequest) -> bytes:
        if request.thinking is not None:
            request = self._levelled(request)
        body = self._encoder.encode(request)
        if (source := self._source) is not None:
            self._source = None
            if source._begins != (begins := (request.instructions, request.tools)):
                # What every conversation of this agent begins with is encoded now: later runs start from it.
                source._begins, source._encoder = begins, self._encoder.fresh()
        return body

    async def _refusal(self, answer: Exchange) -> ModelError:
        said = bytearray()
        with suppress(NetError):  # the status says enough
            await _take(answer, said)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return failure_of(self._origin, answer.status, headers, bytes(said))

    def _bound_of(self, request: ModelRequest, message: AssistantMessage) -> Usage:
        """Returns the most a call can have used, for a server that does not say what it did."""
        said = len(msgspec.json.encode(message.parts))
        cap = request.max_output_tokens
        # What was reserved did not count the cap itself.
        bare = msgspec.structs.replace(request, max_output_tokens=None)
        return Usage(self.size(bare), said if cap is None else min(said, cap), estimated=True)


_OWN = frozenset(("_encoder", "_source", "_begins", "_client", "_clock", "keeper", "estimator"))
"""What a model keeps when its credentials change."""


def _always() -> bool:
    return True


def check_key(origin: Origin, own_url: str) -> None:
    """Ends quietly when a call may succeed; a server of one's own often wants no key.

    Raises:
        AuthFailed: a key is needed and there is none, or it is none; says which variable to set.
    """
    key = origin.secret
    if not key and origin.url == own_url:
        own = f", or {origin.url_variable} if you mean a server of your own" if origin.url_variable else ""
        raise AuthFailed(f"{origin.name!r} needs a key and there is none; set {origin.key_variable}{own}")
    if not (key.isascii() and key.isprintable()):
        raise AuthFailed(
            f"the key for {origin.name!r} holds characters that no key has; set {origin.key_variable} to the key alone"
        )


async def _take(answer: Exchange, said: bytearray) -> None:
    """Adds what an answer says, as far as a short one can be long."""
    async for data in answer:
        said += data
        if len(said) > _SHORT_BYTES:
            del said[_SHORT_BYTES:]
            return


async def _run_out(answer: Exchange, clock: Clock) -> None:
    """Reads to the end, so that the connection can be used again; a server that does not end loses it."""
    try:
        with Interruptible(clock, _LINGER):
            async for _ in answer:
                pass
    except NetError:
        return
