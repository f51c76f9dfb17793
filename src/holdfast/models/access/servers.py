"""Servers that people describe themselves: where one is, what it speaks, whose key it takes.

A description is checked as far as it can be when it is registered; the protocol it names, when it is first used: a
later version, or another machine, may speak one more.

Not here: making a model of it (`custom.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast, final
from urllib.parse import urlsplit

import msgspec

from holdfast.errors import UsageError
from holdfast.errors.hinting import hint
from holdfast.models.access.headers import checked_header
from holdfast.models.access.oauth import ClientCredentials

__all__ = ("CustomServer", "read_servers", "registered")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@final
class CustomServer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server, or a service that runs many."""

    wire: str = ""
    """What it speaks: chat, messages, responses, gemini, cohere or ollama."""
    url: str = ""
    """Its address, up to what its protocol's own client puts behind it: `/chat/completions`, `/v1/messages`,
    `/responses`, `/v1beta/models/…`, `/v2/chat`, `/api/chat`."""
    key_variables: tuple[str, ...] = ()
    """Variables of the environment that may hold the key; the first that does counts."""
    needs_key: bool | None = None
    """Whether it takes nobody without a key; without a word, where a variable for it is named."""
    headers: Mapping[str, str] = {}
    """Headers, each by the variable that holds its value; one whose variable is not set is not sent."""
    compat: Mapping[str, Any] = {}
    """For chat, how it differs from OpenAI: the switches of `models/wire/chat/compat.py`."""
    oauth: ClientCredentials | None = None
    """Whom to ask for tokens that go in the place of a key."""
    replaces: bool = False
    """Whether it may have the name of a provider, and stand in its place."""


def registered(servers: Mapping[str, CustomServer], taken: Iterable[str]) -> dict[str, CustomServer]:
    """Returns servers by name once each can be one.

    Raises:
        UsageError: a field is missing or cannot be that, or a name is taken; the message says which.
    """
    names = frozenset(taken)
    for name, server in servers.items():
        _check(name, server, f"servers.{name}", names)
    return dict(servers)


def read_servers(told: object, taken: Iterable[str], where: str = "servers") -> dict[str, CustomServer]:
    """Returns the servers that settings describe, by name.

    Args:
        told: A mapping from name to a mapping from field to value.
        taken: The names of providers.
        where: How a message calls the place.

    Raises:
        UsageError: something else stands there; the message names server and field.
    """
    names = frozenset(taken)
    found: dict[str, CustomServer] = {}
    for name, fields in _mapping(told, where).items():
        here = f"{where}.{name}"
        for field in _mapping(fields, here):
            if field not in CustomServer.__struct_fields__:
                meant = hint(field, CustomServer.__struct_fields__)
                raise UsageError(f"{here}: a server has no field {field!r}: {meant}")
        try:
            found[name] = msgspec.convert(fields, CustomServer)
        except msgspec.ValidationError as error:
            raise UsageError(f"{here}: {error}") from None
        _check(name, found[name], here, names)
    return found


def _check(name: str, server: CustomServer, where: str, taken: frozenset[str]) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{where}: {name!r} cannot be a server's name: take letters, digits, dots and dashes")
    if name in taken and not server.replaces:
        raise UsageError(f"{where}: {name!r} is a provider already: take another name, or say `replaces: true`")
    for field in ("wire", "url"):
        if not getattr(server, field).strip():
            wanted = "the protocol it speaks" if field == "wire" else "its address"
            raise UsageError(f"{where}: {field} is missing: a server needs {wanted}")
    _check_url(server.url, f"{where}.url")
    if server.oauth is not None:
        _check_url(server.oauth.token_url, f"{where}.oauth.token_url")
    secret = (server.oauth.secret_variable,) if server.oauth is not None else ()
    for variable in (*server.key_variables, *server.headers.values(), *secret):
        if not _VARIABLE.fullmatch(variable):
            # What stands there may be the key itself: nothing of it is shown.
            raise UsageError(f"{where}: keys and headers are named by the variable that holds them, not given here")
    _check_headers(server, where)
    _check_compat(server, where)


def _check_headers(server: CustomServer, where: str) -> None:
    keyless = not (server.key_variables or server.oauth or server.needs_key)
    for name in server.headers:
        try:
            checked_header(name, "", credentials=keyless)
        except UsageError as error:
            raise UsageError(f"{where}.headers: {error}") from None


def _check_url(url: str, where: str) -> None:
    try:
        parts = urlsplit(url.strip())
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fits, parts = False, urlsplit("")
    if not fits or parts.query or parts.fragment or "@" in parts.netloc or not url.isprintable():
        raise UsageError(f"{where} is no address: write it like 'https://host/path', without user, ? or #")


def _check_compat(server: CustomServer, where: str) -> None:
    if not server.compat:
        return
    from holdfast.models.wire.chat.compat import Compat  # noqa: PLC0415 - few servers have switches

    if server.wire != "chat":
        raise UsageError(
            f"{where}.compat: only servers that speak chat have switches, not {server.wire!r}: leave it out"
        )
    for field in server.compat:
        if field not in Compat.__struct_fields__:
            meant = hint(field, Compat.__struct_fields__)
            raise UsageError(f"{where}.compat: there is no switch {field!r}: {meant}")
    try:
        msgspec.convert(dict(server.compat), Compat)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}.compat: {error}") from None


def _mapping(told: object, where: str) -> Mapping[str, Any]:
    if not isinstance(told, Mapping):
        raise UsageError(f"{where}: names with values are wanted there")
    keys = cast("Mapping[object, Any]", told)
    for key in keys:
        if not isinstance(key, str):
            raise UsageError(f"{where}: {key!r} is no name")
    return cast("Mapping[str, Any]", told)
