"""From options, a file and settings to what is to be served, where and for whom; all that can be wrong is said here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from holdfast.cli.serve.agents import served_agents
from holdfast.cli.serve.configuring import ServeConfig, load_config, targets_of
from holdfast.cli.settings.defaults import settings, store_url, warn
from holdfast.errors import UsageError
from holdfast.runtime.bound import BoundAgent
from holdfast.server.app import ROUTES
from holdfast.server.listening.proxies import Proxies
from holdfast.server.listening.sockets import Place, certified, is_loopback
from holdfast.server.parts import Service
from holdfast.server.routing.route import Route
from holdfast.tools.authorising.policy import Policy
from holdfast.types import Mode

__all__ = ("Plan", "log_of", "plan_of")

_AT_ONCE = 1_000
"""Sessions that are driven at once, where nothing else is said."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be served, where, and how it is said."""

    config: ServeConfig
    name: str = ""
    """Of the file that the configuration is from; empty without one."""
    agents: Mapping[str, BoundAgent]
    place: Place
    url: str
    """Of the store."""
    policy: Path | None
    sandbox: str | None
    at_once: int
    mode: Mode = "auto"
    idle: float | None = None
    """Of prompts that name none."""
    origins: tuple[str, ...]
    proxies: Proxies
    log: Literal["json", "text", "none"]
    output: str
    routes: tuple[Route, ...] = ROUTES
    """What is served."""
    parts: Mapping[type, Any] = {}
    """What the doors of these find in the service."""
    policies: tuple[Policy, ...] = ()
    """Those that hold beside the file's."""
    opening: Mapping[str, Any] = {}
    """What else the runtime is opened with."""
    beside: Callable[[Service], AbstractAsyncContextManager[object]] = lambda _: nullcontext()
    """What is open as long as it is served."""

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach it."""
        return not is_loopback(self.place)

    @property
    def required(self) -> bool:
        """Whether the configuration itself sees to it that nobody gets in without anything."""
        access = self.config.access
        return bool(access.required or access.issuers or access.tokens)


def plan_of(
    *,
    agents: tuple[str, ...],
    files: tuple[Path, ...],
    config: Path | None,
    host: str | None,
    port: int | None,
    unix_socket: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    proxies: tuple[str, ...],
    origins: tuple[str, ...],
    at_once: int | None,
    policy: Path | None,
    sandbox: str | None,
    mode: str | None,
    store: str | None,
    log: str,
    output: str,
) -> Plan:
    """Returns what options say; where they say nothing, the file; where it says nothing, the settings.

    Raises:
        UsageError: something cannot be; says what to do.
    """
    warn(settings())
    said = load_config(config)
    place = Place(
        host=host or said.host or "127.0.0.1",
        port=port if port is not None else said.port if said.port is not None else 8700,
        unix=unix_socket or _path(said.unix_socket),
        certificate=tls_cert or _path(said.tls_cert),
        key=tls_key or _path(said.tls_key),
    )
    certified(place)  # what is wrong with it is said before anything is opened
    named = agents or files
    return Plan(
        config=said,
        name="" if config is None else str(config.resolve()),
        agents=served_agents(
            agents if named else said.agents, [str(each) for each in files] if named else said.agent_files
        ),
        place=place,
        url=store_url(store or said.store),
        policy=policy or _path(said.policy),
        sandbox=sandbox,
        at_once=at_once or said.at_once or _AT_ONCE,
        mode=cast("Mode | None", mode) or said.mode or "auto",
        idle=said.idle,
        opening={"targets": targets_of(said)} if said.targets else {},
        origins=tuple(_origin(each) for each in (*said.origins, *origins)),
        proxies=Proxies((*said.trusted_proxies, *proxies), unix=place.unix is not None),
        log=log_of(log),
        output=output,
    )


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def _origin(text: str) -> str:
    scheme, sign, rest = text.partition("://")
    if scheme not in ("http", "https") or not sign or not rest or set(rest) & set("/?#@* "):
        raise UsageError(f"{text!r} is no origin: write scheme and host, as in https://console.example")
    return text.lower()


def log_of(wanted: str) -> Literal["json", "text", "none"]:
    """Returns how requests are logged: `auto` is text on a terminal, else json."""
    if wanted != "auto":
        return cast("Literal['json', 'text', 'none']", wanted)
    return "text" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else "json"
