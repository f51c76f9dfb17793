"""The file that `--config` names: all that can be said of a server, in YAML or JSON.

Options go before it. Nothing unknown is passed over: the message says where it stands.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from holdfast.errors import UsageError
from holdfast.runtime.delivering.port import Promise
from holdfast.runtime.delivering.targets.signing import read_secret
from holdfast.runtime.delivering.targets.webhook import Envelope, WebhookTarget
from holdfast.server.access.settings import AccessSettings
from holdfast.server.listening.caps import Caps
from holdfast.server.parts import Bounds
from holdfast.types import IDLE_LIMIT, Mode

__all__ = ("Endpoint", "ServeConfig", "load_config", "targets_of")

_Many = Annotated[int, msgspec.Meta(ge=1)]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A target that a prompt may name for its result: a webhook that whoever runs the server vouches for."""

    url: str
    """Where results go, http or https; it may be of this machine or a private network."""
    headers: dict[str, str] = {}
    """Sent along, such as `Authorization`; they are in no log."""
    secrets: tuple[str, ...] = ()
    """What it is signed with, the newest first: each `whsec_` and 24 to 64 random bytes in base64."""
    envelope: Envelope = "plain"
    """What the body is: the result itself, or CloudEvents 1.0 around it."""
    promise: Promise = "at-least-once"
    """What the endpoint does with an `Idempotency-Key` that it has seen before."""
    check: str = ""
    """Of a `checkable` one: the URL that says whether an `{id}` arrived."""


class ServeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said of a server."""

    agents: tuple[str, ...] = ()
    """As on the command line: `module:agent`, `name=module:agent`, or `coder`."""
    agent_files: tuple[str, ...] = ()
    """Python files all of whose agents are served."""
    store: str | None = None
    policy: str | None = None
    host: str | None = None
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    unix_socket: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    """Whose pages may ask this server from a browser: `https://console.example`."""
    at_once: _Many | None = None
    """Sessions that are driven at once."""
    webhook_secrets: tuple[str, ...] = ()
    """What signs results for `webhook:` addresses, the newest first (`HOLDFAST_WEBHOOK_SECRETS`): each `whsec_` and 24
    to 64 random bytes in base64.
    """
    mode: Mode | None = None
    """What agents may do without asking, of prompts that do not say it themselves; `auto` where nothing is said."""
    idle: Annotated[float, msgspec.Meta(gt=0, le=IDLE_LIMIT)] | None = None
    """Seconds after a run in which nobody says anything until its session ends for good, of prompts that do not say it
    themselves; sessions are kept for ever where nothing is said."""
    targets: dict[str, str | Endpoint] = {}
    """Where prompts may have results sent by name: a URL, or an endpoint."""
    access: AccessSettings = AccessSettings()
    bounds: Bounds = Bounds()
    connections: Caps = Caps()


def load_config(path: Path | None) -> ServeConfig:
    """Returns what a file says, with what the environment says of secrets; paths in it are beside it.

    Raises:
        UsageError: it cannot be read, or something is wrong with it; says where.
    """
    config = ServeConfig() if path is None else _beside(_read(path), path.resolve().parent)
    access = config.access
    told = {"tokens": "HOLDFAST_API_TOKENS", "setup_token": "HOLDFAST_SETUP_TOKEN"}
    given = {field: os.environ[name] for field, name in told.items() if os.environ.get(name)}
    found = {field: value for field, value in given.items() if not getattr(access, field)}
    signing = config.webhook_secrets or tuple(os.environ.get("HOLDFAST_WEBHOOK_SECRETS", "").replace(",", " ").split())
    for each in signing:
        read_secret(each)
    return msgspec.structs.replace(config, access=msgspec.structs.replace(access, **found), webhook_secrets=signing)


def targets_of(config: ServeConfig) -> Mapping[str, WebhookTarget]:
    """Returns the targets that a configuration names; their connections are opened when they are used.

    Raises:
        UsageError: one cannot be so.
    """
    found: dict[str, WebhookTarget] = {}
    for name, said in config.targets.items():
        each = Endpoint(url=said) if isinstance(said, str) else said
        try:
            found[name] = WebhookTarget(
                each.url,
                each.promise,
                headers=each.headers,
                check=each.check,
                envelope=each.envelope,
                secrets=each.secrets,
            )
        except UsageError as error:
            raise UsageError(f"targets.{name}: {error}") from error
    return found


def _read(path: Path) -> ServeConfig:
    from holdfast.cli.serve.explaining import explained, plain
    from holdfast.sandbox.policy.reading.documents import Mark, Problem, Table, parse
    from holdfast.sandbox.policy.reading.files import contents, listed

    data = contents(path, "configuration")
    if not data.strip():
        return ServeConfig()
    root, problems = parse(data)
    if not isinstance(root, Table):
        raise UsageError(listed(str(path), problems or [Problem(Mark(1, 1), "write settings, such as `port: 8700`")]))
    if problems:
        raise UsageError(listed(str(path), problems))
    try:
        return msgspec.convert(plain(root), ServeConfig, strict=False)
    except (msgspec.ValidationError, UsageError) as error:
        raise explained(path, root, ServeConfig, error) from error


def _beside(config: ServeConfig, folder: Path) -> ServeConfig:
    def found(name: str | None) -> str | None:
        return None if name is None else str(folder / Path(name).expanduser())

    return msgspec.structs.replace(
        config,
        agent_files=tuple(str(folder / Path(each).expanduser()) for each in config.agent_files),
        policy=found(config.policy),
        unix_socket=found(config.unix_socket),
        tls_cert=found(config.tls_cert),
        tls_key=found(config.tls_key),
    )
