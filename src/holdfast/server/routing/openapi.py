"""What a table of routes says of itself, as OpenAPI 3.1: nothing in it is written by hand.

Parameters come from the structs of paths and queries, bodies and answers from theirs, problems from the kind of route.
What a field is for is said where it is declared, and nowhere else.
A link says that what a route answers names what another one takes: whoever tests the server follows them.
"""

from __future__ import annotations

import asyncio
import re
import types
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Union, cast, final, get_args, get_origin

import msgspec

from holdfast import __version__
from holdfast.errors import UsageError
from holdfast.server.access.users.entering import COOKIE
from holdfast.server.problems import Problem, Refused
from holdfast.server.routing.documenting import FieldWords
from holdfast.server.routing.route import Answer, Raw, Route
from holdfast.server.routing.signature import Signature, signature_of
from holdfast.server.streams.port import Stream

__all__ = ("Description", "document_of")

_REF = "#/components/schemas/{name}"
_SAID = {
    400: "The request cannot be understood, or does not fit.",
    401: "Nobody was recognised: send a key, or log in.",
    403: "Whoever asks may not.",
    404: "What is named is not there.",
    409: "It does not go with what is under way.",
    410: "It is over.",
    413: "It is too large.",
    414: "The path or the query is too long.",
    415: "A body of this type is not read.",
    422: "It can be read, and cannot be done.",
    429: "Too much was asked: come back when `retry-after` says.",
    500: "The server could not do it; its log says why.",
    502: "The model's provider failed.",
    503: "Not now: the server is being stopped, is full, or its store does not answer.",
}
_HEADERS: dict[str, Any] = {
    "x-request-id": {"description": "Names the request in the server's log.", "schema": {"type": "string"}}
}


@final
class Description:
    """The description of a table of routes, made when somebody asks for it."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = tuple(routes)
        self._making: dict[bool, asyncio.Task[bytes]] = {}

    async def document(self, *, guarded: bool) -> bytes:
        """Returns the description as JSON; of a `guarded` server, with the ways to say who asks.

        Making it takes as long as hundreds of requests, so it is made in a thread, and once, whoever goes meanwhile.
        """
        making = self._making.get(guarded)
        if making is None:
            making = self._making[guarded] = asyncio.create_task(asyncio.to_thread(self._make, guarded))
        return await asyncio.shield(making)

    def _make(self, guarded: bool) -> bytes:
        return msgspec.json.encode(document_of(self._routes, guarded=guarded))


def document_of(routes: Sequence[Route], *, guarded: bool = True) -> dict[str, Any]:
    """Returns the description of routes.

    Raises:
        UsageError: a handler takes or gives what no schema can say.
    """
    shown = [(route, signature_of(route)) for route in routes if route.described]
    schemas = _Schemas(shown)
    names = _operations(shown)
    paths: dict[str, dict[str, Any]] = {}
    for route, signature in shown:
        told = _operation(route, signature, schemas, guarded=guarded)
        told["operationId"] = names[_key(route)]
        paths.setdefault(route.path, {})[route.method.lower()] = told
    _link(shown, names, paths)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Holdfast",
            "version": __version__,
            "description": "Agents as a service: sessions that survive, watched and steered from anywhere.",
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route, _ in shown)],
        "paths": paths,
        "components": {"schemas": schemas.components},
    }
    if guarded:
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "A key, or a token of a trusted issuer."},
            "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "The login of a person."},
        }
    return document


@final
class _Schemas:
    """The schema of each type that routes take and give."""

    def __init__(self, shown: Sequence[tuple[Route, Signature]]) -> None:
        kinds: list[Any] = [Problem]
        for route, signature in shown:
            for kind in (signature.where, signature.query, signature.body, *answers_of(signature)[0]):
                if kind is not None and kind is not Raw and kind not in kinds:
                    kinds.append(kind)
                    _check(kind, route)
        self._words = FieldWords()
        found, self.components = self._words.schemas(kinds, _REF)
        self._found = [(kind, schema) for kind, schema in zip(kinds, found, strict=True)]

    def of(self, kind: Any) -> dict[str, Any]:
        """Returns the schema of a type."""
        return next(schema for known, schema in self._found if known == kind)

    def streamed(self, route: Route) -> dict[str, Any]:
        """Returns what is said of a stream; OpenAPI 3.1 has no word for the events in it, so they are under ours."""
        if route.tells is None:
            return {}
        kinds = route.tells()
        place = _REF.format(name="stream.{name}")
        found, components = self._words.schemas(kinds.values(), place)
        # A struct of events and one of answers may have one name: these have their own.
        self.components |= {f"stream.{name}": schema for name, schema in components.items()}
        return {"x-events": dict(zip(kinds, found, strict=True))}

    def fields(self, kind: Any) -> tuple[Mapping[str, Any], Sequence[str]]:
        """Returns the schema of each field of a struct, and which of them have to be there."""
        reference: str = self.of(kind)["$ref"]
        whole = self.components[reference.rpartition("/")[2]]
        return whole.get("properties", {}), whole.get("required", ())


def _check(kind: Any, route: Route) -> None:
    try:
        msgspec.json.schema(kind)
    except TypeError as error:
        raise UsageError(f"{route.method} {route.path}: {kind!r} cannot be described ({error})") from error


def answers_of(signature: Signature) -> tuple[list[Any], bool, bool]:
    """Returns the types that a handler gives as JSON, whether it may give bytes, and whether it may give a stream."""
    union = get_origin(signature.answer) in (Union, types.UnionType)
    parts = list(get_args(signature.answer)) if union else [signature.answer]
    parts = [get_args(each)[0] if get_origin(each) is Answer else each for each in parts]
    streams = signature.streams or Stream in parts
    kinds = [each for each in parts if each not in (None, type(None), Stream, Raw)]
    return kinds, Raw in parts, streams


def _operations(shown: Sequence[tuple[Route, Signature]]) -> dict[tuple[str, str], str]:
    """Returns a name for each route: its handler's, with its path where several have one handler."""
    counted = Counter(_handler(route) for route, _ in shown)
    found: dict[tuple[str, str], str] = {}
    for route, _ in shown:
        name = f"{_slug(route.tag)}_{_handler(route)}"
        if counted[_handler(route)] > 1:
            name = f"{route.method.lower()}_{_slug(route.path)}"
        found[_key(route)] = name
    return found


def _key(route: Route) -> tuple[str, str]:
    return route.method, route.path


def _handler(route: Route) -> str:
    return str(getattr(route.handle, "__name__", "handle")).strip("_")


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")


def _operation(route: Route, signature: Signature, schemas: _Schemas, *, guarded: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"tags": [route.tag], "summary": signature.summary, "description": signature.description}
    if parameters := _parameters(route, signature, schemas):
        told["parameters"] = parameters
    if signature.body is not None:
        told["requestBody"] = _body(route, signature, schemas)
    told["responses"] = {str(each): _answer(route, each, signature, schemas) for each in (route.status, *route.also)}
    for status in _refusals(route, signature):
        told["responses"].setdefault(str(status), _problem(route, status, schemas))
    if guarded:
        told["security"] = [{"bearer": []}, {"cookie": []}] if route.scope is not None else []
    if route.scope is not None:
        told["x-scope"] = route.scope
    return told


def _parameters(route: Route, signature: Signature, schemas: _Schemas) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for place, kind in (("path", signature.where), ("query", signature.query)):
        if kind is None:
            continue
        fields, required = schemas.fields(kind)
        for name, schema in fields.items():
            plain = _without_null(schema)
            told = {"name": name, "in": place, "required": place == "path" or name in required, "schema": plain}
            if "description" in plain:
                told["description"] = plain["description"]
            found.append(told)
    found += [
        {"name": name, "in": "header", "required": False, "description": about, "schema": {"type": "string"}}
        for name, about in route.reads.items()
    ]
    return found


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a schema for where nothing is said by leaving it out."""
    plain = {key: value for key, value in schema.items() if not (key == "default" and value is None)}
    options = [each for each in plain.pop("anyOf", []) if each != {"type": "null"}]
    if len(options) == 1:
        plain |= options[0]
    elif options:
        plain["anyOf"] = options
    return plain


def _body(route: Route, signature: Signature, schemas: _Schemas) -> dict[str, Any]:
    if signature.body is Raw:
        media = route.takes or "application/octet-stream"
        schema = {"type": "string", "contentMediaType": media, "minLength": 1}
        return {"required": True, "content": {media: {"schema": schema}}}
    told: dict[str, Any] = {"schema": schemas.of(signature.body)}
    if route.example is not None:
        told["example"] = msgspec.to_builtins(route.example)
    needed = bool(schemas.fields(signature.body)[1]) if "$ref" in told["schema"] else True
    return {"required": needed, "content": {"application/json": told}}


def _answer(route: Route, status: int, signature: Signature, schemas: _Schemas) -> dict[str, Any]:
    kinds, raw, streams = answers_of(signature)
    told: dict[str, Any] = {"description": _phrase(status), "headers": _HEADERS}
    if status == HTTPStatus.NO_CONTENT:
        return told
    content: dict[str, Any] = {}
    if kinds:
        found = [schemas.of(each) for each in kinds]
        content["application/json"] = {"schema": found[0] if len(found) == 1 else {"anyOf": found}}
    own = route.media_type if route.media_type != "application/json" else ""
    if streams:
        content[own or "text/event-stream"] = schemas.streamed(route)
    elif raw:
        content[route.media_type] = {"schema": {}}
    if content:
        told["content"] = content
    return told


def _refusals(route: Route, signature: Signature) -> list[int]:
    found = {400, 500, 503, *route.errors}
    if route.scope is not None:
        found |= {401, 403}
    if signature.where is not None:
        found |= {404, 414}
    if signature.query is not None:
        found.add(414)
    if signature.body is not None:
        found |= {413, 415, 422} if signature.body is not Raw else {413, 415}
    if route.counted:
        found.add(429)
    return sorted(found)


def _problem(route: Route, status: int, schemas: _Schemas) -> dict[str, Any]:
    media = route.dialect(Refused(status, "code").problem()).media_type
    schema = schemas.of(Problem) if media == "application/problem+json" else {"type": "object"}
    about = _SAID.get(status, _phrase(status))
    return {"description": about, "headers": _HEADERS, "content": {media: {"schema": schema}}}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "An answer"


def _link(
    shown: Sequence[tuple[Route, Signature]], names: Mapping[tuple[str, str], str], paths: dict[str, dict[str, Any]]
) -> None:
    """Adds to each route that makes something what can be asked of it: routes of its kind whose path takes what it
    answers. Of another kind, the same name is of something else: `key` is of a run, and of somebody who asks.
    """
    for route, signature in shown:
        kinds = answers_of(signature)[0]
        if route.method != "POST" or len(kinds) != 1 or not _is_struct(kinds[0]):
            continue
        given = {each.encode_name for each in msgspec.structs.fields(kinds[0])}
        links: dict[str, Any] = {}
        for other, taken in shown:
            fields = [] if taken.where is None else [each.encode_name for each in msgspec.structs.fields(taken.where)]
            if fields and given.issuperset(fields) and other is not route and other.tag == route.tag:
                wanted = {name: f"$response.body#/{name}" for name in fields}
                links[names[_key(other)]] = {"operationId": names[_key(other)], "parameters": wanted}
        if links:
            cast(dict[str, Any], paths[route.path]["post"]["responses"][str(route.status)])["links"] = links


def _is_struct(kind: Any) -> bool:
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
