"""A conversation as one target takes it, kept up while it grows.

A `MediaFitter` belongs to one run and one target. Each call of `fit` looks only at the messages that came since the
last one. As long as nothing has to be changed it returns the very list it was given. From the first change on it
returns a list of its own, which grows at its end as the other one does; only where the beginning changes, because old
pictures are left out (`newest.py`) or many make each smaller, there is a new list. So encoders that go by identity go
on where they were. Messages of which nothing changes are the same objects, and so is what was fitted before.

What is kept is what is sent: one fitted part for each that is, none for what is left out. Pictures are decoded in
threads of the house, two in the whole process, because each may take half a gigabyte while it lasts.

Not here: what a target takes (`limits.py`), and what is done to one part (`fitting.py`). Messages are never changed.
"""

from __future__ import annotations

import asyncio
import os
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import groupby
from operator import is_
from typing import final

import msgspec

from holdfast.errors import MediaUnsupported
from holdfast.flow.fanning import fan_out
from holdfast.models.media.fitting import fit, settle
from holdfast.models.media.limits import MediaLimits, as_sent
from holdfast.models.media.newest import left_out, placeholder
from holdfast.types import Document, Image, Message, UserMessage, UserPart

__all__ = ("MediaFitter", "prepare")

_AT_ONCE = 2
_AHEAD = 4
"""How many pictures are decoded before it is looked again whether older ones will be sent at all."""


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="holdfast-media")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # threads stay behind in the parent


class _Spot(msgspec.Struct, frozen=True, gc=False):
    """Where a picture or PDF is in the conversation."""

    message: int
    part: int
    number: int
    """How many pictures are before it; -1 for a PDF, which is not counted."""


@final
class MediaFitter:
    """Makes one conversation fit one target, as often as it has grown."""

    def __init__(self, limits: MediaLimits, target: str = "the model") -> None:
        """A fitter for a target that error messages call by this name, such as `provider/name`."""
        self._limits = limits
        self._target = target
        self._fits: dict[UserPart, UserPart | str] = {}
        """What each part became that is sent; or why it cannot be."""
        self._side = limits.side
        """The bound of each side for which it was made."""
        self._begin(())

    def _begin(self, messages: Sequence[Message]) -> None:
        self._source = messages
        self._known = 0
        """How many of its messages were looked through."""
        self._last: Message | None = None
        """The last one of those."""
        self._spots: list[_Spot] = []
        self._before = [0]
        """For each spot how many bytes all before it have, as sent if they stay; and all together, last."""
        self._images = 0
        self._shape: tuple[int | None, int, int] | None = None
        """What was returned last came from this: the bound of each side, how many pictures and how many spots are
        left out."""
        self._made: dict[int, UserMessage] = {}
        """By its place, what each message became that does not stay."""
        self._out: list[Message] | None = None
        """What is returned; None while it is the source itself."""
        self._built = 0
        """How many messages of the source are in it."""

    async def fit(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Returns the conversation as the target takes it: the same object when nothing has to be changed.

        One call at a time. Cancelling it loses nothing that is done.

        Raises:
            MediaUnsupported: a part that would be sent cannot be made to fit; the next call says so again.
        """
        known = self._known
        if (
            messages is not self._source
            or known > len(messages)
            or (known and messages[known - 1] is not self._last)  # the same list, and it did not only grow
        ):
            self._begin(messages)
        while self._built != len(messages):  # it may grow while pictures are decoded
            self._look_through(messages)
            if self._spots:
                await self._catch_up(messages)
            else:
                self._built = self._known
        return messages if self._out is None else self._out

    def _look_through(self, messages: Sequence[Message]) -> None:
        for place in range(self._known, len(messages)):
            message = messages[place]
            if isinstance(message, UserMessage):
                for at, part in enumerate(message.parts):
                    if isinstance(part, Image | Document) and part.media_type != "text/plain":
                        self._add(_Spot(place, at, self._images if _counts(part) else -1), len(part.data))
            self._last = message
        self._known = len(messages)

    def _add(self, spot: _Spot, size: int) -> None:
        self._spots.append(spot)
        self._images += spot.number >= 0
        self._before.append(self._before[-1] + min(as_sent(size), self._limits.image_bytes))

    async def _catch_up(self, messages: Sequence[Message]) -> None:
        """Brings what is returned up to what is known."""
        known = self._known
        if self._shape is None or self._spots[-1].message >= self._built:
            shape = await self._plan(messages)
        else:
            shape = self._shape
        start = self._built if shape == self._shape else 0
        changed = self._remake(messages, start, shape)
        self._shape = shape
        if start:
            self._append(messages, start, known, changed)
        else:
            self._replace(messages, known, changed)
        self._built = known

    def _append(self, messages: Sequence[Message], start: int, known: int, changed: dict[int, UserMessage]) -> None:
        if self._out is None:
            if not changed:
                return
            self._out = list(messages[:start])
        self._out += [changed.get(place, messages[place]) for place in range(start, known)]

    def _replace(self, messages: Sequence[Message], known: int, changed: dict[int, UserMessage]) -> None:
        old, self._out = self._out, None
        if not changed:
            return
        new = [changed.get(place, messages[place]) for place in range(known)]
        if old is not None and len(old) <= known and all(map(is_, old, new)):
            old += new[len(old) :]
            new = old
        self._out = new

    async def _plan(self, messages: Sequence[Message]) -> tuple[int | None, int, int]:
        """Fits what is to be sent, and returns the shape of it.

        Raises:
            MediaUnsupported: part of it cannot be made to fit.
        """
        limits, spots, count = self._limits, self._spots[:], self._images
        pictures = [spot for spot in spots if spot.number >= 0]
        needed = max(0, count - limits.images)
        gone = left_out(needed, range(count + 1), limits.images, _first_of_last(pictures))
        side = limits.side_among(count)
        if side != self._side:
            self._fits, self._side = {}, side
        left = [(at, _part_at(messages, spot)) for at, spot in enumerate(spots) if not 0 <= spot.number < gone]
        while True:
            needed, unknown = self._weigh(left)
            if not unknown:
                break
            await self._fit_all(unknown, count)
        cut = left_out(needed, self._before[: len(spots) + 1], limits.request_bytes, _first_of_last(spots))
        fits = self._fits
        self._fits = {part: fits[part] for at, part in left if at >= cut}
        for fitted in self._fits.values():
            if isinstance(fitted, str):
                raise MediaUnsupported(fitted)
        return side, gone, cut

    def _weigh(self, left: list[tuple[int, Image | Document]]) -> tuple[int, list[Image | Document]]:
        """Returns how many spots have to be left out for their bytes, and the newest parts whose bytes are unknown.

        It goes from the newest to the oldest, so that nothing is decoded that is not sent.
        """
        total, unknown = 0, dict[Image | Document, None]()
        for at, part in reversed(left):
            fitted = self._fits.get(part)
            if fitted is None:
                unknown[part] = None
                if len(unknown) == _AHEAD:
                    break
            elif isinstance(fitted, Image | Document):
                total += as_sent(len(fitted.data))
                if total > self._limits.request_bytes:
                    return at + 1, list(unknown)
        return 0, list(unknown)

    async def _fit_all(self, parts: list[Image | Document], images: int) -> None:
        slow: list[Image | Document] = []
        for part in parts:
            try:
                settled = settle(part, self._limits, images=images, target=self._target)
            except MediaUnsupported as error:
                settled = str(error)
            if settled is None:
                slow.append(part)
            else:
                self._fits[part] = settled
        if slow:
            for outcome in await fan_out(partial(self._fit_slowly, images), slow, at_once=_AT_ONCE):
                outcome.result()

    async def _fit_slowly(self, images: int, part: Image | Document) -> None:
        work = partial(fit, part, self._limits, images=images, target=self._target)
        try:
            self._fits[part] = await asyncio.get_running_loop().run_in_executor(_threads(), work)
        except MediaUnsupported as error:
            self._fits[part] = str(error)

    def _remake(
        self, messages: Sequence[Message], start: int, shape: tuple[int | None, int, int]
    ) -> dict[int, UserMessage]:
        """Returns the messages from `start` on that do not stay, by their places."""
        _, gone, cut = shape
        first = bisect_left(self._spots, start, key=lambda spot: spot.message)
        changed: dict[int, UserMessage] = {}
        numbered = enumerate(self._spots[first:], first)
        for place, group in groupby(numbered, lambda each: each[1].message):
            message = messages[place]
            assert isinstance(message, UserMessage)  # no other has spots
            parts = list(message.parts)
            for at, spot in group:
                part = _part_at(messages, spot)
                if at < cut or 0 <= spot.number < gone:
                    parts[spot.part] = placeholder(part)
                else:
                    fitted = self._fits[part]
                    assert not isinstance(fitted, str)  # `_plan` has raised it
                    parts[spot.part] = fitted
            if not all(map(is_, parts, message.parts)):
                made = UserMessage(tuple(parts))
                old = self._made.get(place)
                changed[place] = self._made[place] = old if old is not None and old == made else made
        return changed


def _counts(part: Image | Document) -> bool:
    """Whether it may be a picture, whatever it is declared to be."""
    return isinstance(part, Image) or not part.data.startswith(b"%PDF-")


def _part_at(messages: Sequence[Message], spot: _Spot) -> Image | Document:
    message = messages[spot.message]
    assert isinstance(message, UserMessage)  # no other has spots
    part = message.parts[spot.part]
    assert isinstance(part, Image | Document)  # no other is a spot
    return part


def _first_of_last(spots: Sequence[_Spot]) -> int:
    """Returns the place of the first spot in the message that has the last one."""
    return bisect_left(spots, spots[-1].message, key=lambda spot: spot.message) if spots else 0


async def prepare(messages: Sequence[Message], limits: MediaLimits, target: str = "the model") -> Sequence[Message]:
    """Returns one conversation, of which only one request is made, as the target takes it; like `MediaFitter.fit`.

    Raises:
        MediaUnsupported: a part that would be sent cannot be made to fit.
    """
    return await MediaFitter(limits, target).fit(messages)
