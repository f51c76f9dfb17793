"""Vectors of texts, within what whoever asks may spend."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, Sequence

from holdfast.errors import UnknownModel, UnknownPrice, UsageError
from holdfast.flow.clock import Clock
from holdfast.flow.ids import is_alive, worker_name
from holdfast.ledger.amounts import Account, Amount
from holdfast.ledger.port import Denied, Grant, Ledger
from holdfast.models.embedding.cards import lookup_embedder
from holdfast.models.embedding.finding import find_embedder
from holdfast.models.embedding.port import Embeddings, EmbedRequest, partial_of
from holdfast.runtime.binding import Binder
from holdfast.types import TenantId

__all__ = ("Embeds",)

_KEY = "embed-"
"""Begins the keys of grants for vectors; behind it stands whose process took it."""
_LONGEST = 24 * 3600 * 1_000_000
"""µs after which whoever took one is dead, wherever that was."""
_PAGE = 500
_EACH = 16
"""Tokens that a text may count besides its bytes."""


class Embeds:
    """What a runtime offers of vectors."""

    ledger: Ledger
    _bindings: Binder
    _clock: Clock
    _tenant: TenantId
    _user: str

    async def embed(self, model: str, texts: Sequence[str], *, dimensions: int | None = None) -> Embeddings | Denied:
        """Returns a vector for each text, in their order; or the cap that is in the way, and then nothing was asked.

        Where the tenant or the user has a cap, the most that it can cost is taken out of it before, and given back but
        for what it did cost.

        Args:
            model: `provider/name` of an embedder, or `hashing`. Folders of this machine are not read here.
            texts: None of them empty.
            dimensions: How many numbers each vector has; the model's own without.

        Raises:
            UnknownModel, UnknownPrice, AuthFailed, UsageError: see their messages.
            ModelError: the provider did not make them all.
        """
        if model.partition("/")[0].strip() == "local":
            raise UnknownModel("embedders of a folder are not asked by name here: use one of a provider, or 'hashing'")
        prices = self._bindings.models.prices
        embedder = find_embedder(model, self._bindings.models.client, os.environ, prices, clock=self._clock)
        embedder.check()
        request = EmbedRequest(texts=texts, dimensions=dimensions)
        path = (self._tenant, self._user)
        caps = [cap for depth in (1, 2) for cap in await self.ledger.caps(path[:depth])]
        if not caps:
            return await embedder.embed(request)
        price, most = lookup_embedder(embedder.name, prices).price, sum(len(each.encode()) + _EACH for each in texts)
        if price is None and any(cap.cost is not None for cap in caps) and embedder.name.partition("/")[0] != "hashing":
            raise UnknownPrice(f"the price of {embedder.name!r} is unknown, so a cap in dollars cannot be kept")
        key, wanted = f"{_KEY}{worker_name()}", Amount(most, price.bound(most, 0) if price else 0)
        granted = await self.ledger.grant(path, wanted, key)
        if isinstance(granted, Denied) and await self._settle_lost(path):
            granted = await self.ledger.grant(path, wanted, key)
        if isinstance(granted, Denied):
            return granted
        used = most
        try:
            made = await embedder.embed(request)
            used = _used(made, most)
        except BaseException as error:
            used = _used(partial_of(error), most)
            raise
        finally:
            await self.ledger.settle(key, Amount(used, price.bound(used, 0) if price else 0))
        return made

    async def _settle_lost(self, path: Account = ()) -> int:
        """Ends grants on a path that processes took for vectors and did not live to end; returns how many.

        Nobody knows what was spent of them, so all of it was: a provider that was asked may have answered.
        """
        lost = [each async for each in self._taken(path) if _is_lost(each, self._clock.now())]
        for each in lost:
            with contextlib.suppress(UsageError):  # whoever took it has ended it in this moment
                await self.ledger.settle(each.key, each.amount)
        return len(lost)

    async def _taken(self, path: Account) -> AsyncGenerator[Grant]:
        """Yields open grants for vectors: those of one user, or of all; they come before those of the user's runs."""
        last: Grant | None = None
        while page := await self.ledger.open_grants(path, limit=_PAGE, after=last):
            for each in page:
                if len(path) == 2 and each.path != path:
                    return
                if each.key.startswith(_KEY):
                    yield each
            last = page[-1]


def _is_lost(grant: Grant, now: int) -> bool:
    return not is_alive(grant.key.removeprefix(_KEY)) or now - grant.opened_at > _LONGEST


def _used(made: Embeddings | None, most: int) -> int:
    """Returns the tokens that were counted; all that there can be where nobody said."""
    if made is None or not made.embeddings:
        return 0
    return most if made.usage is None else made.usage.total_tokens
