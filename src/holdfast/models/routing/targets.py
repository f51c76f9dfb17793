"""The models of one run, as it asks them: which one comes next, and how its request has to look.

A `Chain` belongs to one run at a time, like the models in it: each remembers what it was sent. How models do at the
moment is shared by all runs of a runtime (`health.py`).

Not here: the decision itself (`chain.py`), the exchange, money, and what the log says of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, final

import msgspec

from holdfast.models.catalogue import ModelCard
from holdfast.models.port import Model, ModelRequest
from holdfast.models.routing.chain import Candidate, Failover, Next, Tried, choose, is_held_against
from holdfast.models.routing.fitting import Fitting, Reader, is_words
from holdfast.models.routing.health import Health
from holdfast.models.routing.seams import can_continue
from holdfast.types import AssistantMessage, ThinkingLevel, Usage

if TYPE_CHECKING:
    from holdfast.models.media.preparing import MediaFitter

__all__ = ("Chain", "Target")


@final
class Target(msgspec.Struct, eq=False):
    """One model of a chain."""

    model: Model
    _card: ModelCard | None
    """What is known about it."""
    level: ThinkingLevel | None = None
    """How much it is to think, by the spec."""
    pictured: bool = False
    """Whether what it was asked last holds pictures or documents, which have to be made to fit (`shown`)."""
    _fitting: Fitting | None = None
    _media: MediaFitter | None = None

    @property
    def name(self) -> str:
        """The model, as `provider/name`."""
        return self.model.name

    @property
    def window(self) -> int | None:
        """Tokens that it holds; None when nobody knows."""
        return None if self._card is None else self._card.context_window or None

    @property
    def prefill(self) -> bool:
        """Whether it takes an answer that has begun as the end of its request, and goes on with it."""
        return self._card is not None and bool(self._card.prefill)

    def request(self, request: ModelRequest) -> ModelRequest:
        """Returns a request as this model can read it; the very same one where nothing has to change."""
        fitting = self._fitting
        if fitting is not None or not is_words(request.messages):
            fitting = self._fitting = fitting or Fitting(_reader(self.name, self._card.inputs if self._card else None))
            messages = fitting.fit(request.messages)
            self.pictured = fitting.pictured
            if messages is not request.messages:
                request = msgspec.structs.replace(request, messages=messages)
        if self.level is not None and self.level != request.thinking:
            request = msgspec.structs.replace(request, thinking=self.level)
        return request

    async def shown(self, request: ModelRequest) -> ModelRequest:
        """Returns a request with its pictures and documents as the model's provider takes them.

        Raises:
            MediaUnsupported: one of them cannot be made to fit.
        """
        if self._media is None:
            from holdfast.models.media.limits import limits_of  # noqa: PLC0415 - most runs have no pictures
            from holdfast.models.media.preparing import MediaFitter  # noqa: PLC0415

            self._media = MediaFitter(limits_of(self.name.partition("/")[0]), self.name)
        messages = await self._media.fit(request.messages)
        return request if messages is request.messages else msgspec.structs.replace(request, messages=messages)

    def overflowed(self, request: ModelRequest, message: AssistantMessage) -> bool:
        """Whether an answer was given to more than the model can hold, so that something was left out silently.

        Of a server that does not say what it used only a bound is known, which proves nothing (source: flex A1.3).
        """
        if self._card is None or not (window := self._card.context_window):
            return False
        used = message.usage.input_tokens
        if used <= window or message.stop != "stop":
            return False
        return used < self.model.size(msgspec.structs.replace(request, max_output_tokens=None))

    def bound(self, request: ModelRequest, came: int) -> Usage:
        """Returns the most a call can have used of which so many bytes came, where nobody says what it did."""
        return Usage(self.model.size(msgspec.structs.replace(request, max_output_tokens=None)), came, estimated=True)


@final
class Chain:
    """The models that a run asks, the one it wants most first."""

    __slots__ = ("_health", "_policy", "_retries", "_targets", "only")

    def __init__(self, targets: Sequence[Target], health: Health, policy: Failover, retries: int = 1) -> None:
        """Takes the models, and how often one may be asked again at most, whatever the policy says."""
        self._targets = targets
        self._health = health
        self._policy = policy
        self._retries = retries
        self.only = targets[0] if len(targets) == 1 else None
        """The one model, where there is no other: then there is nothing to choose."""

    @property
    def first(self) -> Target:
        """The one that is wanted most."""
        return self._targets[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The models in their order, each as `provider/name`."""
        return tuple([target.name for target in self._targets])

    def pick(self, tried: Sequence[Tried], intended: str, now: int) -> Target | None:
        """Returns whom to ask now: the one that was `intended` when the last one failed, unless it is not here any
        more, or was benched since; None when nobody is left.
        """
        if self.only is not None:
            return self.only
        wanted = self._named(intended)
        if wanted is not None and (not self._health.left(intended) or intended == _last(tried)):
            return wanted
        coming = self.after(tried, now)
        return None if coming is None else self._named(coming.model)

    def after(
        self, tried: Sequence[Tried], now: int, words: ModelRequest | None = None, author: str = ""
    ) -> Next | None:
        """Returns the attempt that comes after what failed so far, or None when nobody is left.

        `words` is the request whose answer broke off after words of its `author` that another model could go on with;
        None where there are none.
        """
        policy = self._policy
        if self._retries + 1 < policy.tries:
            policy = msgspec.structs.replace(policy, tries=self._retries + 1)
        candidates = [
            Candidate(
                each.name,
                each.window,
                self._health.left(each.name),
                self._health.quiet(each.name),
                words is not None and self.continues(each.name, author, words),
            )
            for each in self._targets
        ]
        return choose(candidates, tried, now, policy, visible=words is not None)

    def continues(self, name: str, author: str, request: ModelRequest) -> bool:
        """Whether that model can go on with the words of another one, their `author`, at the end of such a request."""
        target = self._named(name)
        return target is not None and name != author and target.prefill and can_continue(_leveled(request, target))

    def _named(self, name: str) -> Target | None:
        return next((target for target in self._targets if target.name == name), None)

    def failed(self, name: str, code: str, message: str, wait: float | None = None) -> None:
        """Notes a failure, for all runs, and how long the provider wants to be left alone."""
        if is_held_against(code):
            self._health.failed(name, f"{code}: {message}", wait or 0.0)

    def succeeded(self, target: Target) -> None:
        """Notes an answer, for all runs."""
        if self._health.troubled:
            self._health.succeeded(target.name)


def _last(tried: Sequence[Tried]) -> str:
    return tried[-1].model if tried else ""


def _leveled(request: ModelRequest, target: Target) -> ModelRequest:
    return request if target.level is None else msgspec.structs.replace(request, thinking=target.level)


@lru_cache
def _reader(name: str, inputs: frozenset[str] | None) -> Reader:
    return Reader(name) if inputs is None else Reader(name, "image" in inputs, "pdf" in inputs)
