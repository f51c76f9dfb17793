"""What `holdfast serve keys` and `holdfast serve users` have in common: the store in which keys and users lie.

A server that is running over the same store has every change within a second.
"""

from __future__ import annotations

import shlex
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import click

from holdfast.cli.completion.finding import there
from holdfast.cli.settings.defaults import open_runtime, store_url
from holdfast.errors import UsageError
from holdfast.flow.clock import SystemClock
from holdfast.server.access.naming import HOME
from holdfast.server.access.principal import EVERYTHING, Principal
from holdfast.server.governing.opening import Governed, governed
from holdfast.server.problems import Refused

__all__ = ("BY", "LIMIT", "OUTPUT", "SETTINGS", "STORE", "TENANT", "at_console", "day", "of_tenant", "opened")

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
STORE = click.option("--store", help="Where the log is kept.  [default: your data folder]")
OUTPUT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
TENANT = click.option("--tenant", default=str(HOME), show_default=True, help="Whose.")
LIMIT = 1000
"""How many are read at once."""
BY = "console"
"""Who made what is made here."""


@asynccontextmanager
async def opened(store: str | None, *, make: bool = False) -> AsyncGenerator[Governed]:
    """Opens who may use the servers of a store; one that is not there is made only where `make` says so.

    Raises:
        UsageError: what is wanted cannot be; or the store cannot be named so.
    """
    url = store_url(store)
    try:
        async with open_runtime(url if make else there(url)) as runtime, governed(runtime, SystemClock()) as who:
            yield who
    except Refused as refused:
        raise UsageError(str(refused)) from refused


def at_console() -> Principal:
    """Returns in whose name it is recorded: whoever sits at the machine of the store."""
    return Principal(tenant=HOME, user=BY, scopes=EVERYTHING, how="local")


def of_tenant(tenant: str) -> str:
    """Returns the option that names a tenant in a command that is shown; nothing for the one it is without."""
    return "" if tenant == HOME else f" --tenant {shlex.quote(tenant)}"


def day(at: int | None) -> str:
    """Returns when, as a table has it; a dash for never."""
    return "-" if at is None else datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
