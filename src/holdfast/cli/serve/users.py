"""`holdfast serve users`: makes users who log in, lists and removes them, and gives them other passwords.

A password never stands on the command line, where the list of processes and the shell's history would show it.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from typing import cast

import click
from rich.text import Text

from holdfast.cli.data import printed
from holdfast.cli.screen import store_option
from holdfast.cli.serve.governing import BY, LIMIT, OUTPUT, SETTINGS, STORE, TENANT, at_console, day, of_tenant, opened
from holdfast.cli.settings.defaults import settings, store_url
from holdfast.cli.terminal import open_console
from holdfast.cli.words import count, printable
from holdfast.errors import UsageError
from holdfast.server.access.naming import check_tenant
from holdfast.server.access.principal import ROLES, Role
from holdfast.server.access.users.passwords import LONGEST, new_password
from holdfast.server.access.users.user import User
from holdfast.types import TenantId

__all__ = ("users",)

_NAME = click.argument("name")
_TYPED = click.option(
    "--password-stdin", "given", is_flag=True, help="Read the password from standard input, instead of drawing one."
)


@click.group(context_settings=SETTINGS)
def users() -> None:
    """Make users who log in with a name and a password, list and remove them, and give them other passwords.

    A password is drawn and shown once, unless it comes on standard input; only what Argon2id makes of it is kept.
    """


@users.command("add", context_settings=SETTINGS, short_help="Make the user NAME.")
@_NAME
@click.option("--role", type=click.Choice(list(ROLES)), default="reader", show_default=True, help="What they may.")
@_TYPED
@TENANT
@STORE
@OUTPUT
def add(name: str, role: str, given: bool, tenant: str, store: str | None, output: str) -> None:
    """Make the user NAME. The password is drawn and shown this once, unless it comes on standard input."""
    password, drawn = _password(given)

    async def go() -> User:
        async with opened(store, make=True) as who:
            user = await who.users.add(check_tenant(tenant), name, cast("Role", role), password, by=BY)
            who.audit.note("user.added", f"{tenant}/{name} as {role}", at_console())
            return user

    _show(asyncio.run(go()), drawn, output)


@users.command("list", context_settings=SETTINGS, short_help="List users.")
@TENANT
@STORE
@OUTPUT
def list_(tenant: str, store: str | None, output: str) -> None:
    """List the users of a tenant, and what they are."""

    async def go() -> list[User]:
        async with opened(store) as who:
            found, after = await who.users.listed(check_tenant(tenant), limit=LIMIT)
            while after:
                more, after = await who.users.listed(TenantId(tenant), after, LIMIT)
                found += more
            return found

    found = asyncio.run(go())
    if output == "json":
        click.echo(printed({"users": [_data(each) for each in found]}))
        return
    console = open_console(plain=settings().plain)
    if not found:
        make = f"holdfast serve users add NAME --role admin{of_tenant(tenant)}{store_option(store_url(store))}"
        console.print(Text(f"No users yet. Make one: {make}"), soft_wrap=True)
        return
    width = max(len(each.name) for each in found)
    for each in found:
        console.print(Text(f"{each.name:<{width}}  {each.role:<10}  since {day(each.created_at)}"), soft_wrap=True)
    console.print(Text(f"\n{count(len(found), 'user')} of {tenant}", "dim"), soft_wrap=True)


@users.command("reset-password", context_settings=SETTINGS, short_help="Give NAME another password.")
@_NAME
@_TYPED
@TENANT
@STORE
@OUTPUT
def reset_password(name: str, given: bool, tenant: str, store: str | None, output: str) -> None:
    """Give the user NAME another password, and end all their logins within a second."""
    password, drawn = _password(given)

    async def go() -> User:
        async with opened(store) as who:
            user = await who.users.set_password(check_tenant(tenant), name, password)
            if user is None:
                raise _unknown(name, tenant, store)
            who.audit.note("user.password", f"{tenant}/{name}", at_console())
            return user

    _show(asyncio.run(go()), drawn, output)


@users.command("remove", context_settings=SETTINGS, short_help="Remove NAME.")
@_NAME
@TENANT
@STORE
def remove(name: str, tenant: str, store: str | None) -> None:
    """Remove the user NAME, and end all their logins within a second. The last admin of a tenant cannot be removed."""

    async def go() -> None:
        async with opened(store) as who:
            if not await who.users.remove(check_tenant(tenant), name):
                raise _unknown(name, tenant, store)
            who.audit.note("user.removed", f"{tenant}/{name}", at_console())

    asyncio.run(go())
    click.echo(f"{name} is removed")


def _password(given: bool) -> tuple[str, str]:
    """Returns a password, and the same where it was drawn and has to be shown."""
    if not given:
        drawn = new_password()
        return drawn, drawn
    if sys.stdin is not None and sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison] - None when closed
        typed: str = click.prompt("password (not shown)", hide_input=True, confirmation_prompt=True, err=True)
        return typed, ""
    data = b"" if sys.stdin is None else sys.stdin.buffer.read(LONGEST * 4 + 2)  # pyright: ignore[reportUnnecessaryComparison] - as above
    try:
        return data.decode().removesuffix("\n").removesuffix("\r"), ""
    except UnicodeDecodeError:
        raise UsageError("the password on standard input is no text: send it as UTF-8") from None


def _show(user: User, drawn: str, output: str) -> None:
    if output == "json":
        click.echo(printed(_data(user) | {"password": drawn or None}))
        return
    if drawn:
        click.echo(drawn)
    console = open_console(plain=settings().plain, stderr=True)
    console.print(Text(printable(f"  {user.name} of {user.tenant} is {_a(user.role)}"), "dim"), soft_wrap=True)
    if drawn:
        console.print(Text("  the password is shown this once: hand it over safely", "yellow"), soft_wrap=True)


def _a(role: Role) -> str:
    return f"an {role}" if role[0] in "aeiou" else f"a {role}"


def _data(user: User) -> dict[str, object]:
    return {"name": user.name, "tenant": user.tenant, "role": user.role, "created_at": user.created_at}


def _unknown(name: str, tenant: str, store: str | None) -> UsageError:
    listed = f"holdfast serve users list --tenant {shlex.quote(tenant)}{store_option(store_url(store))}"
    return UsageError(f"{tenant!r} has no user {name[:64]!r}: {listed} shows who there is")
