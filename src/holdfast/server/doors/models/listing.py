"""Who can be asked: the agents of this server, and the models whose providers it has a key for.

OpenAI's clients and Anthropic's list models at one path, in two shapes; Anthropic's say which version of its interface
they speak, in a header.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import msgspec

from holdfast.errors import UnknownModel
from holdfast.models.catalogue import listed_models
from holdfast.models.providers.table import TABLE
from holdfast.server.doors.models.dialects import BOTH
from holdfast.server.doors.models.turns.asking import may_ask
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Call, Route

__all__ = ("ROUTES",)

_MADE: Final = "1970-01-01T00:00:00Z"
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class One(msgspec.Struct, frozen=True):
    """A name."""

    id: _Name


class ModelOf(msgspec.Struct, frozen=True):
    """A model of a provider."""

    provider: _Name
    name: _Name


class Deeper(msgspec.Struct, frozen=True):
    """A model of a provider whose name has a slash."""

    provider: _Name
    owner: _Name
    name: _Name


class ModelPage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which of them, for Anthropic's clients."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1000
    after_id: Annotated[str, msgspec.Meta(max_length=256)] = ""
    before_id: Annotated[str, msgspec.Meta(max_length=256)] = ""
    beta: bool = False
    """Said by clients of Anthropic's beta interface, which is the same here."""


async def list_models(call: Call[None, ModelPage, None]) -> msgspec.Raw:
    """Lists who can be asked, by name: agents first. Any model of a provider with a key can be asked, listed or not."""
    names = list(dict.fromkeys(each for each in _names(call) if call.who.may_ask(each)))
    if "anthropic-version" not in call.headers:
        return _encoded({"object": "list", "data": [_for_openai(call, each) for each in names]})
    page, more = _page(names, call.query)
    told = {"data": [_for_anthropic(each) for each in page], "has_more": more}
    return _encoded({**told, "first_id": page[0] if page else None, "last_id": page[-1] if page else None})


async def show(call: Call[One, None, None]) -> msgspec.Raw:
    """Returns who goes by a name."""
    return _one(call, call.where.id)


async def show_of_provider(call: Call[ModelOf, None, None]) -> msgspec.Raw:
    """Returns a model by its whole name."""
    return _one(call, f"{call.where.provider}/{call.where.name}")


async def show_deeper(call: Call[Deeper, None, None]) -> msgspec.Raw:
    """Returns a model by its whole name that has two slashes."""
    return _one(call, f"{call.where.provider}/{call.where.owner}/{call.where.name}")


def _one(call: Call[Any, None, None], name: str) -> msgspec.Raw:
    try:
        if may_ask(call, name) is None:
            call.runtime.models_of(name)
    except UnknownModel as error:
        raise Refused(404, "unknown_model", str(error)) from error
    told = _for_anthropic(name) if "anthropic-version" in call.headers else _for_openai(call, name)
    return _encoded(told)


def _names(call: Call[None, ModelPage, None]) -> Iterator[str]:
    yield from sorted(call.service.agents)
    yield from call.runtime.model_names()
    for provider, entry in TABLE.items():
        described = entry.described()
        if any(os.environ.get(variable) for variable in described.key_variables):
            yield from listed_models(provider)


def _page(names: Sequence[str], query: ModelPage) -> tuple[Sequence[str], bool]:
    if query.before_id in names:
        end = names.index(query.before_id)
        return names[max(0, end - query.limit) : end], end > query.limit
    start = names.index(query.after_id) + 1 if query.after_id in names else 0
    return names[start : start + query.limit], start + query.limit < len(names)


def _for_openai(call: Call[Any, Any, None], name: str) -> dict[str, Any]:
    provider, slash, _ = name.partition("/")
    owner = provider if slash and name.removeprefix("agent/") not in call.service.agents else "holdfast"
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}


def _for_anthropic(name: str) -> dict[str, Any]:
    return {"id": name, "type": "model", "display_name": name, "created_at": _MADE}


def _encoded(value: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _route(path: str, handle: Any) -> Route:
    return Route(method="GET", path=path, handle=handle, scope="models:call", tag="models", errors=(404,), dialect=BOTH)


ROUTES = (
    _route("/v1/models", list_models),
    _route("/v1/models/{id}", show),
    _route("/v1/models/{provider}/{name}", show_of_provider),
    _route("/v1/models/{provider}/{owner}/{name}", show_deeper),
)
