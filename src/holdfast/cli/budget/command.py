"""`holdfast budget list|show|set|clear`: caps on what is spent, and how much of them is left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click
import msgspec
from rich.text import Text

from holdfast.cli.asking.span import Amount, Span, Whole
from holdfast.cli.budget.standing import print_accounts, print_balance, shown_of, span
from holdfast.cli.completion.finding import there
from holdfast.cli.screen import store_option
from holdfast.cli.settings.defaults import open_runtime, settings, store_url
from holdfast.cli.terminal import open_console
from holdfast.errors import UsageError
from holdfast.ledger.amounts import Account, Cap, account_id
from holdfast.ledger.port import Balance, Ledger
from holdfast.runtime.lanes.counting import FAMILIES
from holdfast.types import from_dollars

__all__ = ("budget",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_STORE = click.option("--store", help="Where the log is kept.  [default: your data folder]")
_OUTPUT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
_ACCOUNT = click.argument("account", required=False)
_OF = click.option("--tenant", help="Whose: ACCOUNT is one of its users, or without any the tenant itself.")
_PER = click.option("--per", type=Span(), help="A rolling window, such as 24h or 7d.  [default: for ever]")
_TENANT = "local"
_DEPTH = 3
"""Names of an account that a person caps: tenant, user, session."""
_HOUR = 3_600_000_000


@click.group(context_settings=_SETTINGS)
def budget() -> None:
    """Cap what is spent in a store, and see what is used and left.

    An ACCOUNT is "local" for all of the store, USER for one user, or USER/SESSION for one of their sessions; whoever
    gives no name is "user". A tenant of a server, and what is below it, is named as `holdfast budget list` has it, or
    with --tenant. A cap bounds an account and everything below it. It holds before a model is asked, in every process,
    and a run that it leaves nothing for ends as limited.
    """


@budget.command("list", context_settings=_SETTINGS)
@_STORE
@_OUTPUT
def list_(store: str | None, output: str) -> None:
    """List the accounts that have caps, and how they stand."""
    url = store_url(store)

    async def go() -> list[Balance]:
        async with open_runtime(there(url)) as runtime:
            found = await runtime.ledger.capped(_DEPTH)
            return [await runtime.ledger.balance(account) for account in found if account[0] != FAMILIES]

    accounts = [shown_of(balance) for balance in asyncio.run(go())]
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(accounts)))
        return
    console = open_console(plain=settings().plain)
    if accounts:
        print_accounts(console, accounts)
        return
    text = f"Nothing is capped in {url}\nCap it: holdfast budget set local --dollars 20 --per 7d{store_option(url)}"
    console.print(Text(text), soft_wrap=True)


@budget.command("show", context_settings=_SETTINGS)
@_ACCOUNT
@_OF
@_STORE
@_OUTPUT
def show(account: str | None, tenant: str | None, store: str | None, output: str) -> None:
    """Show what was spent at ACCOUNT and below, and how it stands with its caps; without one, all of the store.

    Only runs under some cap, and agents that share a limit with others, are counted.
    """
    url = there(store_url(store))
    named = _named(account if account or tenant else _TENANT, tenant)
    _show(asyncio.run(_found(url, named)), url, output)


@budget.command("set", context_settings=_SETTINGS)
@_ACCOUNT
@click.option("--dollars", type=Amount(0), help="What models may cost.")
@click.option("--tokens", type=Whole(0), help="Tokens in and out together.")
@click.option("--hours", type=Amount(0), help="Time that runs may take, waiting included.")
@_PER
@_OF
@_STORE
@_OUTPUT
def set_(
    account: str | None,
    dollars: float | None,
    tokens: int | None,
    hours: float | None,
    per: float | None,
    tenant: str | None,
    store: str | None,
    output: str,
) -> None:
    """Cap ACCOUNT, in place of the cap it has for the same window, if any; other windows stay.

    Processes that are running hear of it within two seconds, and it holds for the next call of runs that have begun.
    """
    if dollars is None and tokens is None and hours is None:
        raise UsageError("a cap needs a bound: give --dollars, --tokens or --hours")
    cap = Cap(
        tokens=tokens,
        cost=None if dollars is None else from_dollars(dollars),
        time=None if hours is None else round(hours * _HOUR),
        window=_window(per),
    )
    url, named = store_url(store), _named(account, tenant)
    path, gone = asyncio.run(_replace(url, named, cap.window, (cap,)))
    _show(path, url, output)
    _note(gone)


@budget.command("clear", context_settings=_SETTINGS)
@_ACCOUNT
@_PER
@click.option("--all", "every", is_flag=True, help="The caps of all windows.")
@_OF
@_STORE
@_OUTPUT
def clear(
    account: str | None, per: float | None, every: bool, tenant: str | None, store: str | None, output: str
) -> None:
    """Take the cap of ACCOUNT away that holds for ever, or the one of a window, or all; what was spent stays known."""
    if every and per is not None:
        raise click.UsageError("--all and --per exclude each other: give one of them")
    url, named = there(store_url(store)), _named(account, tenant)
    path, gone = asyncio.run(_replace(url, named, None if every else _window(per), (), every=every))
    if not gone:
        kind = "" if every else f" per {span(per)}" if per is not None else " that holds for ever"
        raise UsageError(
            f"account {'/'.join(path)!r} has no cap{kind}: holdfast budget list{store_option(url)} shows what there is"
        )
    _show(path, url, output)
    _note(gone)


async def _replace(
    url: str, named: Sequence[Account], window: int | None, caps: tuple[Cap, ...], *, every: bool = False
) -> tuple[Account, list[Cap]]:
    """Puts caps in the place of those of a window, or of all; returns of which account, and which those were."""
    async with open_runtime(url) as runtime:
        path = await _meant(runtime.ledger, named)
        before = await runtime.ledger.caps(path)
        gone = [cap for cap in before if every or cap.window == window]
        if gone or caps:
            await runtime.ledger.set_caps(path, (*(cap for cap in before if cap not in gone), *caps))
        return path, gone


async def _found(url: str, named: Sequence[Account]) -> Account:
    async with open_runtime(url) as runtime:
        return await _meant(runtime.ledger, named)


async def _meant(ledger: Ledger, named: Sequence[Account]) -> Account:
    """Returns which of the accounts that a name can stand for has caps; the first where none has.

    Raises:
        UsageError: two have.
    """
    if len(named) == 1:
        return named[0]
    capped = [path for path in named if await ledger.caps(path)]
    if len(capped) > 1:
        own, other = ("/".join(path) for path in capped)
        raise UsageError(f"{other!r} is a tenant, and {own!r} is a user of your own: write {own}, or --tenant")
    found = capped[0] if capped else named[0]
    if len(found) > _DEPTH:
        raise UsageError(
            f"{'/'.join(found[1:])!r} names too much: give a user and a session, such as ada/order-7, or --tenant"
        )
    return found


def _note(gone: Sequence[Cap]) -> None:
    if any(cap.origin for cap in gone):
        click.echo("note a server's configuration said so: it says it again when that server starts", err=True)


def _show(path: Account, url: str, output: str) -> None:
    async def go() -> Balance:
        async with open_runtime(url) as runtime:
            return await runtime.ledger.balance(path)

    shown = shown_of(asyncio.run(go()))
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(shown)))
    else:
        print_balance(open_console(plain=settings().plain), shown)


def _window(per: float | None) -> int | None:
    return None if per is None else round(per * 1e6)


def _named(account: str | None, tenant: str | None) -> tuple[Account, ...]:
    """Returns the accounts that a person may mean, the likeliest first: a user or a session of their own, or what
    `holdfast budget list` prints of a tenant.

    Raises:
        UsageError: there is none.
    """
    if account is None and tenant is None:
        raise UsageError("say which account: local for all of the store, a user, or --tenant")
    names = () if account is None else tuple(account.split("/"))
    home = tenant or _TENANT
    path = names if names[:1] == (home,) else (home, *names)
    listed = (names,) if not tenant and path != names and len(names) <= _DEPTH else ()
    if len(path) > _DEPTH and not listed:
        raise UsageError(f"{account!r} names too much: give a user, or a user and a session, such as ada/order-7")
    for each in (path, *listed):
        account_id(each)
    return (path, *listed)
