"""`holdfast budget list|show|set|clear`: caps on what is spent, and how much of them is left."""

from __future__ import annotations

import asyncio

import click
import msgspec
from rich.text import Text

from holdfast.cli.asking.span import Span
from holdfast.cli.budget.standing import print_accounts, print_balance, shown_of, span
from holdfast.cli.history.branching import there
from holdfast.cli.screen import store_option
from holdfast.cli.settings.defaults import open_runtime, settings, store_url
from holdfast.cli.terminal import open_console
from holdfast.errors import UsageError
from holdfast.ledger.amounts import Account, Cap, account_id
from holdfast.ledger.port import Balance
from holdfast.runtime.lanes.counting import FAMILIES
from holdfast.types import from_dollars

__all__ = ("budget",)

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_STORE = click.option("--store", help="Where the log is kept.  [default: your data folder]")
_OUTPUT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
_ACCOUNT = click.argument("account")
_PER = click.option("--per", type=Span(), help="A rolling window, such as 24h or 7d.  [default: for ever]")
_TENANT = "local"
_DEPTH = 3
"""Names of an account that a person caps: tenant, user, session."""
_HOUR = 3_600_000_000


@click.group(context_settings=_SETTINGS)
def budget() -> None:
    """Cap what is spent in a store, and see what is used and left.

    An ACCOUNT is "local" for all of the store, USER for one user, or USER/SESSION for one of their sessions; whoever
    gives no name is "user". A cap bounds an account and everything below it. It holds before a model is asked, in every
    process, and a run that it leaves nothing for ends as limited.
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
@click.argument("account", default=_TENANT)
@_STORE
@_OUTPUT
def show(account: str, store: str | None, output: str) -> None:
    """Show what was spent at ACCOUNT and below, and how it stands with its caps; without one, all of the store.

    Only runs under some cap, and agents that share a limit with others, are counted.
    """
    url = store_url(store)
    _show(_named(account), there(url), output)


@budget.command("set", context_settings=_SETTINGS)
@_ACCOUNT
@click.option("--dollars", type=click.FloatRange(0), help="What models may cost.")
@click.option("--tokens", type=click.IntRange(0), help="Tokens in and out together.")
@click.option("--hours", type=click.FloatRange(0), help="Time that runs may take, waiting included.")
@_PER
@_STORE
@_OUTPUT
def set_(
    account: str,
    dollars: float | None,
    tokens: int | None,
    hours: float | None,
    per: float | None,
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
    url, path = store_url(store), _named(account)
    asyncio.run(_replace(url, path, cap.window, (cap,)))
    _show(path, url, output)


@budget.command("clear", context_settings=_SETTINGS)
@_ACCOUNT
@_PER
@click.option("--all", "every", is_flag=True, help="The caps of all windows.")
@_STORE
@_OUTPUT
def clear(account: str, per: float | None, every: bool, store: str | None, output: str) -> None:
    """Take the cap of ACCOUNT away that holds for ever, or the one of a window, or all; what was spent stays known."""
    if every and per is not None:
        raise click.UsageError("--all and --per exclude each other: give one of them")
    url, path = store_url(store), _named(account)
    gone = asyncio.run(_replace(there(url), path, None if every else _window(per), (), every=every))
    if not gone:
        kind = "" if every else f" per {span(per)}" if per is not None else " that holds for ever"
        raise UsageError(
            f"account {'/'.join(path)!r} has no cap{kind}: holdfast budget list{store_option(url)} shows what there is"
        )
    _show(path, url, output)


async def _replace(url: str, path: Account, window: int | None, caps: tuple[Cap, ...], *, every: bool = False) -> int:
    """Puts caps in the place of those of a window, or of all; returns how many those were."""
    async with open_runtime(url) as runtime:
        before = await runtime.ledger.caps(path)
        kept = () if every else tuple(cap for cap in before if cap.window != window)
        if len(kept) < len(before) or caps:
            await runtime.ledger.set_caps(path, (*kept, *caps))
        return len(before) - len(kept)


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


def _named(account: str) -> Account:
    """Returns the account that a person names.

    Raises:
        UsageError: it is none.
    """
    names = tuple(account.split("/"))
    path = names if names[0] == _TENANT else (_TENANT, *names)
    if len(path) > _DEPTH:
        raise UsageError(f"{account!r} names too much: give a user, or a user and a session, such as ada/order-7")
    account_id(path)
    return path
