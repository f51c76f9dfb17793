"""`holdfast serve keys`: makes keys for programs, lists them, rotates and revokes them."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping
from typing import Any, cast

import click
from rich.text import Text

from holdfast.cli.asking.span import Amount, Span
from holdfast.cli.data import printed
from holdfast.cli.screen import store_option
from holdfast.cli.serve.governing import BY, LIMIT, OUTPUT, SETTINGS, STORE, TENANT, at_console, day, of_tenant, opened
from holdfast.cli.settings.defaults import settings, store_url
from holdfast.cli.terminal import open_console
from holdfast.cli.words import count, printable
from holdfast.errors import UsageError
from holdfast.server.access.keys.key import Key, Wish
from holdfast.server.access.naming import HOME, check_tenant
from holdfast.server.access.principal import ROLES, SCOPES, Lane, Rates, Role, Scope
from holdfast.types import TenantId

__all__ = ("keys",)

_KEY = click.argument("key", metavar="ID")
_NAMED = 10
"""Other tenants that a list names."""


@click.group(context_settings=SETTINGS)
def keys() -> None:
    """Make keys for programs and people who call the server, list them, rotate and revoke them.

    A key is shown once, when it is made or rotated: only its hash is kept. A server that is running has every change
    within a second. As long as there is no key and no user, it is open to this machine alone.
    """


@keys.command("create", context_settings=SETTINGS, short_help="Make a key for USER.")
@click.argument("user")
@click.option("--role", type=click.Choice(list(ROLES)), help="What it may.  [default: writer, without --scope]")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, help="What it may, beside its role.")
@click.option("--name", default="", help="What it is for.")
@click.option("--agent", "agents", multiple=True, help="An agent or model it may ask; a * at its end stands for any.")
@click.option("--expires", type=Span(), help="How long it is good, such as 30d.  [default: until it is revoked]")
@click.option("--requests", type=Amount(0, min_open=True), help="Requests a second, on average.")
@click.option("--lane", type=click.Choice(["interactive", "autonomous"]), default="interactive", show_default=True)
@TENANT
@STORE
@OUTPUT
def create(
    user: str,
    role: str | None,
    scopes: tuple[str, ...],
    name: str,
    agents: tuple[str, ...],
    expires: float | None,
    requests: float | None,
    lane: str,
    tenant: str,
    store: str | None,
    output: str,
) -> None:
    """Make a key that acts in the name of USER, whose sessions it starts and whose account is charged."""
    chosen = role or (None if scopes else "writer")

    async def go() -> tuple[Key, str, bool]:
        async with opened(store, make=True) as who:
            now, home = who.clock.now(), check_tenant(tenant)
            new = home != HOME and not (await who.keys.listed(home, limit=1))[0]
            new = new and not (await who.users.listed(home, limit=1))[0]
            wish = Wish(
                tenant=home,
                user=user,
                name=name[:128],
                role=cast("Role | None", chosen),
                scopes=cast("tuple[Scope, ...]", scopes),
                agents=agents or None,
                lane=cast("Lane", lane),
                rates=Rates(requests=requests),
                expires_at=None if expires is None else now + round(expires * 1e6),
            )
            made, text = await who.keys.create(wish, by=BY)
            who.audit.note("key.created", f"{tenant}/{made.id} for {user}", at_console())
            return made, text, new

    made, text, new = asyncio.run(go())
    _show_once(made, text, store, output)
    if new:
        undo = f"holdfast serve keys revoke {made.id} --forget{of_tenant(tenant)}{store_option(store_url(store))}"
        said = f"  the tenant {tenant!r} is new: nobody had a key or a login of it; if the name is a slip: {undo}"
        open_console(plain=settings().plain, stderr=True).print(Text(said, "yellow"), soft_wrap=True)


@keys.command("list", context_settings=SETTINGS, short_help="List keys, without their secrets.")
@TENANT
@STORE
@OUTPUT
def list_(tenant: str, store: str | None, output: str) -> None:
    """List the keys of a tenant: whose they are, what they may, when they were last used; never a secret."""

    async def go() -> tuple[list[Key], Mapping[str, int], int, Mapping[str, int]]:
        async with opened(store) as who:
            found, after = await who.keys.listed(check_tenant(tenant), limit=LIMIT)
            while after:
                more, after = await who.keys.listed(TenantId(tenant), after, LIMIT)
                found += more
            others = {} if output == "json" else await who.keys.tenants()
            return found, await who.keys.uses.last([each.id for each in found]), who.clock.now(), others

    found, used, now, others = asyncio.run(go())
    elsewhere = _elsewhere(others, tenant)
    if output == "json":
        click.echo(printed({"keys": [_data(each, now, used.get(each.id)) for each in found]}))
        return
    console = open_console(plain=settings().plain)
    if not found:
        make = f"holdfast serve keys create USER{of_tenant(tenant)}{store_option(store_url(store))}"
        console.print(Text(f"No keys yet. Make one: {make}{elsewhere}"), soft_wrap=True)
        return
    heads = ("id", "user", "may", "state", "last used", "name")
    rows = [
        (each.id, each.user, _may(each), each.state(now), day(used.get(each.id)), printable(each.name))
        for each in found
    ]
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    for number, row in enumerate((heads, *rows)):
        text = "  ".join(printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        console.print(Text(text, "" if number else "dim"), soft_wrap=True)
    console.print(Text(f"\n{count(len(found), 'key')} of {tenant}{elsewhere}", "dim"), soft_wrap=True)


@keys.command("rotate", context_settings=SETTINGS, short_help="Give a key another secret.")
@_KEY
@click.option("--grace", type=Span(), default=3600.0, help="How long the one before is good.  [default: 1h]")
@click.option("--at-once", is_flag=True, help="The one before is good no more.")
@TENANT
@STORE
@OUTPUT
def rotate(key: str, grace: float, at_once: bool, tenant: str, store: str | None, output: str) -> None:
    """Give the key ID another secret, which is shown this once. The one before is good for a while, an hour if nothing
    is said.
    """

    async def go() -> tuple[Key, str]:
        async with opened(store) as who:
            found = await who.keys.rotate(check_tenant(tenant), key, 0.0 if at_once else grace)
            if found is None:
                raise _unknown(key, tenant, store)
            who.audit.note("key.rotated", f"{tenant}/{key}", at_console())
            return found

    _show_once(*asyncio.run(go()), store, output)


@keys.command("revoke", context_settings=SETTINGS, short_help="End a key.")
@_KEY
@click.option("--forget", is_flag=True, help="Remove it with all that is known of it.")
@TENANT
@STORE
def revoke(key: str, forget: bool, tenant: str, store: str | None) -> None:
    """End the key ID: a server that is running refuses it within a second."""

    async def go() -> None:
        async with opened(store) as who:
            if await who.keys.revoke(check_tenant(tenant), key) is None:
                raise _unknown(key, tenant, store)
            if forget:
                await who.keys.forget(TenantId(tenant), key)
            who.audit.note("key.forgotten" if forget else "key.revoked", f"{tenant}/{key}", at_console())

    asyncio.run(go())
    click.echo(f"{key} is {'forgotten' if forget else 'revoked'}")


def _show_once(key: Key, text: str, store: str | None, output: str) -> None:
    if output == "json":
        click.echo(printed(_data(key, 0, None) | {"state": "active", "key": text}))
        return
    click.echo(text)
    console = open_console(plain=settings().plain, stderr=True)
    until = "" if key.expires_at is None else f", until {day(key.expires_at)}"
    said = f"  key {key.id} of {key.tenant}/{key.user} may {_may(key)}{until}"
    console.print(Text(printable(said), "dim"), soft_wrap=True)
    again = f"holdfast serve keys rotate {key.id}{of_tenant(key.tenant)}{store_option(store_url(store))}"
    console.print(Text(f"  it is shown this once; one that is lost is made anew: {again}", "yellow"), soft_wrap=True)


def _elsewhere(tenants: Mapping[str, int], tenant: str) -> str:
    """Returns how many keys other tenants have, and how they are seen."""
    others = {name: keys for name, keys in sorted(tenants.items()) if name != tenant}
    if not others:
        return ""
    named = ", ".join(f"{name} {keys}" for name, keys in [*others.items()][:_NAMED])
    more = f" and {count(len(others) - _NAMED, 'more tenant')}" if len(others) > _NAMED else ""
    return f"\nbeside {count(sum(others.values()), 'key')} of others ({named}{more}): --tenant NAME shows them"


def _may(key: Key) -> str:
    return ", ".join((*([key.role] if key.role else []), *key.scopes))


def _data(key: Key, now: int, used: int | None) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "user": key.user,
        "name": key.name,
        "role": key.role,
        "scopes": sorted(key.all_scopes),
        "agents": key.agents,
        "lane": key.lane,
        "requests_per_second": key.rates.requests,
        "state": key.state(now),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "rotated_at": key.rotated_at,
        "revoked_at": key.revoked_at,
        "last_used_at": used,
    }


def _unknown(key: str, tenant: str, store: str | None) -> UsageError:
    listed = f"holdfast serve keys list --tenant {shlex.quote(tenant)}{store_option(store_url(store))}"
    return UsageError(f"{tenant!r} has no key {key[:40]!r}: {listed} shows what there is")
