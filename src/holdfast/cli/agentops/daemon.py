"""`holdfast daemon`: the agent of a configuration behind AgentOps' door."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from holdfast.cli.agentops.loading import CONFIG, load
from holdfast.cli.asking.span import Whole
from holdfast.cli.settings.defaults import store_url
from holdfast.errors import UsageError

if TYPE_CHECKING:
    from holdfast.cli.serve.planning import Plan
    from holdfast.server.doors.agentops.configuring.making import Configured
    from holdfast.server.parts import Service

__all__ = ("daemon",)

_PORT = 4096
_PATIENCE = 300.0
"""Seconds that a person has to allow a call (source: AgentOps 3.8)."""
_TOKEN = 16
"""Characters of a token at least."""
_AT_ONCE = 1_000
"""Sessions that are driven at once."""
_CLOSED = (
    "note this store has keys or users (holdfast serve keys list, holdfast serve users list), and this daemon asks for "
    "them, too: give it a --token, or a --store of its own"
)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--config", type=click.Path(path_type=Path), default=CONFIG, show_default=True, help="The agent.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1; with a token, 0.0.0.0]")
@click.option("--port", type=Whole(0, 65535), default=_PORT, show_default=True, help="0 picks a free one.")
@click.option("--token", help="What clients have to send as Bearer.  [default: HOLDFAST_API_TOKEN]")
@click.option("--workspace", type=click.Path(path_type=Path), help="Its folder.  [default: WORKSPACE, else its own]")
@click.option("--sandbox", help="What commands run in: a sandbox's name, or a profile's file.  [default: auto]")
@click.option("--store", help="Where the log is kept.  [default: your data folder]")
@click.option(
    "--log", type=click.Choice(["auto", "json", "text", "none"]), default="auto", help="A line for each request."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How it says where it is.")
def daemon(
    config: Path,
    host: str | None,
    port: int,
    token: str | None,
    workspace: Path | None,
    sandbox: str | None,
    store: str | None,
    log: str,
    output: str,
) -> None:
    """Serve the one agent of a config.json, with one conversation, as AgentOps' daemon does.

    The conversation is the session that is named after the agent (AGENT_NAME). It survives a crash: a run that was
    open goes on when this is started again.

    Without a token it listens on this machine alone. HOLDFAST_API_TOKENS may hold several, as name:token:role.

    With NATS_URL, each event is published there too, on agents.NAMESPACE.NAME.fep.TYPE (AGENT_NAMESPACE, AGENT_NAME).
    """
    from holdfast.cli.serve.planning import log_of
    from holdfast.cli.serve.running import run_server

    given = token or os.environ.get("HOLDFAST_API_TOKEN", "")
    planned = _plan(load(config, daemon=True), host, port, given, workspace)
    said = {"url": store_url(store), "sandbox": sandbox, "output": output, "log": log_of(log)}
    sys.exit(run_server(msgspec.structs.replace(planned, **said)))


def _plan(made: Configured, host: str | None, port: int, token: str, workspace: Path | None) -> Plan:
    """Returns what is to be served, and where."""
    from holdfast.cli.serve.configuring import load_config
    from holdfast.cli.serve.planning import Plan
    from holdfast.server.doors.agentops.desk import Daemon
    from holdfast.server.doors.agentops.routes import ROUTES
    from holdfast.server.listening.proxies import Proxies
    from holdfast.server.listening.sockets import Place
    from holdfast.types import Control

    said = load_config(None)
    if token:
        tokens = ",".join(filter(None, (said.access.tokens, _listed(token))))
        said = msgspec.structs.replace(said, access=msgspec.structs.replace(said.access, tokens=tokens))
    folder = str(workspace or made.workspace)
    part = Daemon(
        name=made.name,
        agent=made.agent,
        titles=made.titles,
        extracts=made.extracts,
        workspace=str(Path(folder).resolve()) if folder else "",
        control=Control(patience=_PATIENCE),
        fraction=made.fraction,
    )
    return Plan(
        config=said,
        agents={made.name: made.agent},
        place=Place(host=host or ("0.0.0.0" if said.access.tokens else "127.0.0.1"), port=port),
        url="",
        policy=None,
        sandbox=None,
        at_once=_AT_ONCE,
        origins=(),
        proxies=Proxies(()),
        log="none",
        output="text",
        routes=ROUTES,
        parts={Daemon: part},
        policies=made.policies,
        opening=made.opening(),
        beside=_beside(made, os.environ.get("NATS_URL", ""), open_=not said.access.tokens),
    )


def _beside(made: Configured, url: str, *, open_: bool) -> Callable[[Service], AbstractAsyncContextManager[object]]:
    """Returns what tells on a bus what happens, where there is one; before it, whoever is `open_` and yet is not is
    told why.
    """
    from holdfast.server.access.naming import HOME
    from holdfast.server.doors.agentops.publishing import Bus, on_bus
    from holdfast.server.governing.opening import Governed

    @asynccontextmanager
    async def told(service: Service) -> AsyncGenerator[None]:
        if open_ and not await service.parts[Governed].access.open_to_all():
            click.echo(_CLOSED, err=True)
        if not url:
            yield
            return
        async with on_bus(url, made.name, made.namespace) as bus:
            await bus.resume(service.runtime.acting_for(tenant=HOME, user="agent"))
            service.parts[Bus] = bus
            yield

    return told


def _listed(token: str) -> str:
    """Returns a token as an entry of a list of them."""
    if len(token) < _TOKEN or not token.isascii() or not token.isprintable() or set(token) & set(":, "):
        raise UsageError(
            f"the token can be guessed or sent by nobody: use {_TOKEN} or more letters and digits, such as `openssl "
            "rand -hex 32` draws"
        )
    return f"daemon:{token}:writer"
