"""From a model's name to the model, with the key that counts, the headers that are added and the pace it shares.

Theory of operation. A key is the agent's own, else the one that is registered, else the environment's. A key that is
text is laid over the environment that the provider reads, so that each provider sends it where its protocol wants it.
One that has to be waited for (a function's, a token) is put in before a request, by the model's keeper.

A model is made once and kept. Everything its provider read from the environment is remembered, and looked at before
each call: a model of which something has changed since is made anew, so a key that is put in another's place counts
from the next call on. A key that is refused is looked up again, and the request is sent once more where there is
another one by then.

All runs that ask one model with one key share a pace (`pacing.py`).

Not here: names that stand for others (`routing/`); what servers are asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, cast, final

from holdfast.errors import AuthFailed, UsageError
from holdfast.flow.clock import Clock
from holdfast.models.access.access import NO_ACCESS, Access, Key, Own
from holdfast.models.access.custom import make_custom
from holdfast.models.access.environment import Reading, same_in
from holdfast.models.access.fetching import Asked, Source
from holdfast.models.access.headers import CREDENTIALS, joined
from holdfast.models.access.oauth import Tokens
from holdfast.models.catalogue import Facts, ModelCard, lookup
from holdfast.models.estimating import TokenEstimator
from holdfast.models.pacing import Pace
from holdfast.models.port import Model
from holdfast.models.providers import finding
from holdfast.models.providers.table import TABLE
from holdfast.models.providers.talking import HttpModel, Keeper
from holdfast.net.client import HttpClient
from holdfast.types import Price

__all__ = ("ModelMaker",)

_KEPT: Final = 512
"""Models that are kept ready, and keys whose pace is remembered."""
_PENDING: Final = "not-fetched-yet"
"""Stands for a key that has to be waited for, so that a model can be made; it is replaced before anything is sent."""
_KEY: Final = 16
"""Letters below which a key is one in name only, such as a local server takes: `ollama`, `not-needed`."""
_SHORTEST: Final = 4
"""Letters below which a value is no secret, and would blank ordinary words."""


class _Made:
    """A model that is kept."""

    __slots__ = ("card", "model", "unchanged")

    def __init__(self, model: Model, card: ModelCard | None, unchanged: Callable[[], bool]) -> None:
        self.model = model
        self.card = card
        self.unchanged = unchanged


def _at_http(model: Model) -> HttpModel[Any] | None:
    """Returns a model that has credentials at all."""
    return cast("HttpModel[Any]", model) if isinstance(model, HttpModel) else None


@final
class ModelMaker:
    """Makes the models of one runtime."""

    def __init__(
        self,
        client: HttpClient,
        clock: Clock,
        *,
        access: Access | None = None,
        prices: Mapping[str, Price] | None = None,
        facts: Mapping[str, Facts] | None = None,
        env: Mapping[str, str] | None = None,
        learn: Callable[[str], object] | None = None,
    ) -> None:
        """Takes what goes before the catalogue and the environment; `env` is the process's own without. `learn` is told
        each key, before it is sent anywhere.
        """
        self.client = client
        self.clock = clock
        self.access = access or NO_ACCESS
        self.env = os.environ if env is None else env
        self.estimator = TokenEstimator()
        """Learns from the calls of all of them."""
        self.prices = prices
        """What models cost, by `provider/name`, where somebody said so."""
        self._facts = facts
        self._learn = learn
        self._made: dict[tuple[str, Own | None], _Made] = {}
        self._sources: dict[tuple[str, Own | None], Source] = {}
        self._paces: dict[tuple[str, str, object, str], Pace] = {}

    def find(self, spec: str, own: Own | None = None) -> tuple[Model, ModelCard | None]:
        """Returns the model of that name, for `fresh` to make one for each run of, and what is known of it.

        Raises:
            UnknownModel: no provider goes by the name in front of the slash.
            UsageError: the server speaks what nobody here does, or the environment says what cannot be meant.
        """
        known = self._made.get((spec, own))
        if known is not None and known.unchanged():
            return known.model, known.card
        model, card, unchanged = self.make(spec, own)
        if len(self._made) >= _KEPT:
            oldest = next(iter(self._made))
            del self._made[oldest]
            self._sources.pop((oldest[0].partition("/")[0], oldest[1]), None) if oldest[1] is not None else None
        self._made[spec, own] = _Made(model, card, unchanged)
        return model, card

    def make(
        self, spec: str, own: Own | None, key: str = "", source: Source | None = None
    ) -> tuple[Model, ModelCard | None, Callable[[], bool]]:
        """Returns a model with a key that was fetched, or with the one that counts, and what says whether the
        environment is for it as it was.
        """
        provider, name = finding.split_name(spec)
        given = self.key(provider, own)
        source = source or self.source(provider, own, given)
        text = key or (_PENDING if source is not None else given if isinstance(given, str) else "")
        bearer = isinstance(source, Tokens)
        env = Reading(self.env)
        env.over = self._over(provider, text, env)
        card = lookup(spec, self.prices, self._facts)
        model = self._model(provider, name, env, "" if bearer else text, card)
        made = _at_http(model)
        if made is None:
            return model, card, same_in(self.env, env.read)
        headers, secrets = self._headers(provider, own, env, keyed=bool(text))
        if bearer:
            headers["authorization"] = f"Bearer {text}"
            made.has_key_from(self._words(provider, own, source), text)
        elif text:
            made.has_key_from(self._words(provider, own, source))
        if headers:
            made.add_headers(headers, secrets)
        made.pace = self._pace(made, source)
        made.estimator = self.estimator
        made.keeper = _Kept(self, spec, own, source)
        made.unchanged = same_in(self.env, env.read)
        self._tell_keys(made)
        return made, card, made.unchanged

    def key(self, provider: str, own: Own | None) -> Key | None:
        """Returns the key that goes before the environment's, or the function that gives it."""
        mine = None if own is None else own.key(provider)
        return self.access.keys.get(provider) if mine is None else mine

    def source(self, provider: str, own: Own | None, given: Key | None) -> Source | None:
        """Returns where a key is from that has to be waited for; None where none has."""
        if isinstance(given, str):
            return None
        mine = own if own is not None and own.key(provider) is not None else None
        known = self._sources.get((provider, mine))
        if known is not None:
            return known
        if given is not None:
            known = Asked(given)
        else:
            server = self.access.servers.get(provider)
            if server is None or server.oauth is None:
                return None
            variable = server.oauth.secret_variable
            known = Tokens(server.oauth, lambda: self.env.get(variable, "").strip(), self.client, self.clock)
        self._sources[provider, mine] = known
        return known

    def keep(self, spec: str, own: Own | None, model: HttpModel[Any]) -> None:
        """Lets runs to come begin with what another model of this name was found to need."""
        known = self._made.get((spec, own))
        base = None if known is None else _at_http(known.model)
        if known is not None and base is not None:
            base.adopt(model)
            known.unchanged = model.unchanged

    # ---- inside ----

    def _model(self, provider: str, name: str, env: Mapping[str, str], key: str, card: ModelCard | None) -> Model:
        server = self.access.servers.get(provider)
        if server is not None:
            found = (key for each in server.key_variables if (key := env.get(each, "").strip()))
            return make_custom(provider, server, name, self.client, key or next(found, ""), card)
        make = finding.PROVIDERS.get(provider)
        if make is None:
            raise finding.unknown_provider(f"{provider}/{name}", (*finding.PROVIDERS, *self.access.servers))
        return make(name, self.client, env, card)

    def _over(self, provider: str, key: str, env: Reading) -> dict[str, str | None]:
        """Returns what lies over the environment, so that a provider finds this key there and no other."""
        if not key:
            return {}
        server = self.access.servers.get(provider)
        row = TABLE.get(provider)
        if server is not None:
            return dict.fromkeys(server.key_variables)  # it is handed its key
        if row is None:
            return {}
        variables, lines = row.described().key_variables, row.headers_variable
        over: dict[str, str | None] = dict.fromkeys(variables)
        if variables:
            over[variables[0]] = key
        if lines:  # a key among them would go before it
            said = (env.below(lines) or "").split("\n")
            over[lines] = "\n".join(each for each in said if each.partition(":")[0].strip().lower() not in CREDENTIALS)
        return over

    def _headers(
        self, provider: str, own: Own | None, env: Mapping[str, str], *, keyed: bool
    ) -> tuple[dict[str, str], list[str]]:
        """Returns the headers that are sent beside a provider's own, and which of their values nobody may see."""
        server = self.access.servers.get(provider)
        named: Mapping[str, str] = {} if server is None else server.headers
        described: Mapping[str, str] = {
            name: value
            for name, variable in named.items()
            if (value := env.get(variable, "").strip()) and not (keyed and name.lower() in CREDENTIALS)
        }
        given = [described, self.access.headers.get(provider, {})]
        given += [] if own is None else [own.headers]
        return joined(*given), [value for each in given for value in each.values() if len(value) >= _SHORTEST]

    def _words(self, provider: str, own: Own | None, source: Source | None) -> str:
        """Returns how an error calls the place a key is from."""
        if isinstance(source, Tokens):
            server = self.access.servers[provider]
            return "oauth" if server.oauth is None else f"oauth, client {server.oauth.client_id!r}"
        if own is not None and own.key(provider) is not None:
            return "Agent(key=…)"
        return f"Access(keys={{{provider!r}: …}})"

    def _tell_keys(self, model: HttpModel[Any]) -> None:
        if self._learn is not None:
            for each in (model.origin.secret, *model.origin.others):
                if len(each) >= _KEY and each != _PENDING:
                    self._learn(each)

    def _pace(self, model: HttpModel[Any], source: Source | None) -> Pace:
        """Returns the pace of a model and its key: providers count for each model. Tokens of one client are one key."""
        provider, url, key = model.lane
        lane = provider, url, source or key, model.origin.model
        pace = self._paces.get(lane)
        if pace is None:
            if len(self._paces) >= _KEPT:
                idle = [each for each, one in self._paces.items() if one.idle]
                for each in idle:
                    del self._paces[each]
            pace = self._paces[lane] = Pace(self.clock)
        return pace


@final
class _Kept(Keeper):
    """What a model asks for its credentials."""

    __slots__ = ("_maker", "_own", "_source", "_spec", "fetches")

    def __init__(self, maker: ModelMaker, spec: str, own: Own | None, source: Source | None) -> None:
        self._maker = maker
        self._spec = spec
        self._own = own
        self._source = source
        self.fetches = source is not None

    async def ready(self, model: HttpModel[Any]) -> None:
        """Gives a model the key that holds now."""
        if self._source is not None:
            self._put(model, await self._source.token(model.origin))
            return
        with suppress(UsageError):  # what cannot be meant is told where the next run begins
            made = _at_http(self._maker.make(self._spec, self._own)[0])
            if made is not None:
                self._take(model, made)

    async def renewed(self, model: HttpModel[Any], status: int) -> bool:
        """Looks for another key than the one that was refused."""
        if self._source is None:
            with suppress(UsageError, AuthFailed):  # what is said by now cannot be meant: what was refused stays so
                made = _at_http(self._maker.make(self._spec, self._own)[0])
                if made is not None and not model.is_asked_as(made):
                    made.check()
                    model.adopt(made)
                    return True
            return False
        if isinstance(self._source, Tokens) and status != 401:
            return False  # a token that holds is not enough
        before = model.origin.secret
        self._put(model, await self._source.token(model.origin, refused=before))
        return model.origin.secret != before

    def _put(self, model: HttpModel[Any], key: str) -> None:
        if model.origin.secret != key or not model.unchanged():
            self._take(model, cast("HttpModel[Any]", self._maker.make(self._spec, self._own, key, self._source)[0]))

    def _take(self, model: HttpModel[Any], made: HttpModel[Any]) -> None:
        made.check()
        model.adopt(made)
        self._maker.keep(self._spec, self._own, made)
