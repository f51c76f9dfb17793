"""Accounts in one SQLite file, for one machine: many processes may use it at once, and the journal may share it.

Each call is a function that runs inside a transaction of the database. Most touch a row of the grant and one of each
account on its path, whatever happened before, and are staged in the event loop; setting caps may look through what was
settled lately, and is left to the writer's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import msgspec

from holdfast.flow.clock import Clock, SystemClock
from holdfast.ledger.amounts import Account, Amount, Cap, account_id, check_amount
from holdfast.ledger.port import Balance, Denied, Grant, Ledger, Settled
from holdfast.ledger.stores import booking
from holdfast.ledger.stores.booking import Rows
from holdfast.ledger.stores.tallies import Grain, Tally
from holdfast.storage.migrating import Schema
from holdfast.storage.sqlite import Connection, Database

__all__ = ("LEDGER", "SqliteLedger")

LEDGER = Schema(
    "ledger",
    (
        (
            "create table ledger_account (account text not null, tally text not null)",
            "create unique index ledger_account_name on ledger_account (account)",
            # Few accounts have caps, and whether any has is asked often.
            "create index ledger_account_capped on ledger_account (account) "
            "where json_array_length(tally, '$.caps') > 0",
            "create table ledger_grant (key text primary key, path text not null, tokens integer not null, "
            "cost integer not null, time integer not null, opened_at integer not null, spent_tokens integer, "
            "spent_cost integer, spent_time integer, settled_at integer) without rowid",
            "create index ledger_grant_open on ledger_grant (path, key) where settled_at is null",
            # What a window that is new looks up; times come in order, so that it only ever grows at its end.
            "create index ledger_grant_settled on ledger_grant (settled_at) where settled_at is not null",
        ),
    ),
)
"""The tables of a ledger; open the database with it."""

_GRANT = "key, path, tokens, cost, time, opened_at, spent_tokens, spent_cost, spent_time, settled_at"
# Many rows are fetched as one: see `holdfast.journal.stores.sqlite_tables`.
_TALLIES = "select json_group_object(account, json(tally)) from ledger_account where account in"
_PUT_TALLIES = "on conflict (account) do update set tally = excluded.tally"
_PUT_GRANT = (
    f"insert into ledger_grant ({_GRANT}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (key) do update set "
    "tokens = excluded.tokens, cost = excluded.cost, time = excluded.time, spent_tokens = excluded.spent_tokens, "
    "spent_cost = excluded.spent_cost, spent_time = excluded.spent_time, settled_at = excluded.settled_at"
)
_HISTORY = (
    "select json_group_array(json_array(grain, tokens, cost, time)) from (select settled_at / :grain as grain, "
    "sum(spent_tokens) as tokens, sum(spent_cost) as cost, sum(spent_time) as time from ledger_grant "
    "indexed by ledger_grant_settled where settled_at > :since and (path = :path or (path > :over and path < :below)) "
    "group by 1 order by 1)"
)
# Each settlement brings one and takes more than one away, so that what has piled up goes in the end.
_FORGET = (
    "delete from ledger_grant where key in (select key from ledger_grant indexed by ledger_grant_settled "
    "where settled_at <= ? order by settled_at limit 4)"
)
_OPEN = (
    f"select json_group_array(json_array({_GRANT})) from (select * from ledger_grant indexed by ledger_grant_open "
    "where settled_at is null and (path, key) > (:after_path, :after_key) and path < :below "
    "and (path = :path or path > :over) order by path, key limit :limit)"
)

_CAPPED = (
    "select json_group_array(account) from (select account from ledger_account indexed by ledger_account_capped "
    "where json_array_length(tally, '$.caps') > 0 and length(account) - length(replace(account, '/', '')) < :depth "
    "order by account limit :limit)"
)

_Row = tuple[str, str, int, int, int, int, int | None, int | None, int | None, int | None]
_tallies = msgspec.json.Decoder(dict[str, Tally])
_history = msgspec.json.Decoder(list[Grain])
_grants = msgspec.json.Decoder(list[_Row])


@final
class SqliteLedger(Ledger):
    """Tallies and grants in the tables of a database that was opened with `LEDGER`; closing it is its opener's."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()

    async def grant(self, path: Account, amount: Amount, key: str, *, least: Amount | None = None) -> Grant | Denied:
        """Takes an amount out of every account on the path, or out of none.

        Raises:
            UsageError: something is not valid, or the key belongs to a grant on another path.
            StorageError: nothing was granted, or the answer got lost.
        """
        account_id(path)
        booking.check_request(key, amount, least)
        return await self._database.stage(self._grant, path, amount, key, least)

    async def grow(self, key: str, amount: Amount, *, least: Amount | None = None) -> Grant | Denied:
        """Makes an open grant as large as `amount`.

        Raises:
            UsageError: something is not valid, or there is no open grant of that key.
            StorageError: the grant is as it was, or the answer got lost.
        """
        booking.check_request(key, amount, least)
        return await self._database.stage(self._grow, key, amount, least)

    async def shrink(self, key: str, amount: Amount) -> Grant:
        """Makes an open grant as small as `amount`: the rest is free again.

        Raises:
            UsageError: the amount is not valid, or there is no open grant of that key.
            StorageError: the grant is as it was, or the answer got lost.
        """
        check_amount(amount)
        return await self._database.stage(self._shrink, key, amount)

    async def settle(self, key: str, spent: Amount, *, path: Account | None = None) -> Settled:
        """Ends a grant: what was spent is charged, the rest is free again.

        Raises:
            UsageError: there is no grant of that key and no path, it is on another one, or something is not valid.
            StorageError: nothing was settled, or the answer got lost.
        """
        booking.check_settlement(key, spent, path)
        return await self._database.stage(self._settle, key, spent, path)

    async def release(self, key: str) -> Settled:
        """Settles a grant of which nothing was spent.

        Raises:
            UsageError: there is no grant of that key.
            StorageError: nothing was settled, or the answer got lost.
        """
        return await self.settle(key, Amount())

    async def set_caps(self, account: Account, caps: Sequence[Cap]) -> None:
        """Replaces the caps of an account.

        Raises:
            UsageError: the account's name is not valid, or a window is longer than `LONGEST`.
            StorageError: nothing was changed, or the answer got lost.
        """
        account_id(account)
        await self._database.write(self._set_caps, account, tuple(caps))

    async def reset(self, account: Account) -> None:
        """Has an account begin anew, without caps.

        Raises:
            UsageError: grants on its path are open, or its name is not valid.
            StorageError: nothing was changed, or the answer got lost.
        """
        account_id(account)
        await self._database.stage(self._reset, account)

    async def caps(self, account: Account) -> tuple[Cap, ...]:
        """Returns the caps of an account itself."""
        return tuple(standing.cap for standing in (await self.balance(account)).standings)

    async def capped(self, depth: int, *, limit: int = 1000) -> list[Account]:
        """Returns accounts of at most so many names that have caps."""
        return await self._database.read(_capped, depth, limit)

    async def balance(self, account: Account) -> Balance:
        """Returns what was settled and is open at an account, and how it stands with its caps."""
        return await self._database.read(self._balance, account)

    async def open_grants(self, path: Account = (), *, limit: int = 100, after: Grant | None = None) -> list[Grant]:
        """Returns open grants whose path begins with those names, by path and key."""
        return await self._database.read(_open_grants, account_id(path) if path else "", limit, after)

    # What follows runs inside a transaction, in the event loop, the writer's thread or a reader's.

    def _grant(
        self, connection: Connection, path: Account, amount: Amount, key: str, least: Amount | None
    ) -> Grant | Denied:
        return booking.grant(_Rows(connection), path, amount, key, least, self._clock.now())

    def _grow(self, connection: Connection, key: str, amount: Amount, least: Amount | None) -> Grant | Denied:
        return booking.grow(_Rows(connection), key, amount, least, self._clock.now())

    def _shrink(self, connection: Connection, key: str, amount: Amount) -> Grant:
        return booking.shrink(_Rows(connection), key, amount)

    def _settle(self, connection: Connection, key: str, spent: Amount, path: Account | None) -> Settled:
        return booking.settle(_Rows(connection), key, spent, path, self._clock.now())

    def _set_caps(self, connection: Connection, account: Account, caps: tuple[Cap, ...]) -> None:
        booking.set_caps(_Rows(connection), account, caps, self._clock.now())

    def _reset(self, connection: Connection, account: Account) -> None:
        booking.reset(_Rows(connection), account, self._clock.now())

    def _balance(self, connection: Connection, account: Account) -> Balance:
        return booking.standing(_Rows(connection), account, self._clock.now())


class _Rows(Rows):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def grant(self, key: str) -> Grant | None:
        query = f"select {_GRANT} from ledger_grant where key = ?"
        row = self._connection.execute(query, (key,)).fetchone()
        return None if row is None else _grant(row)

    def tallies(self, accounts: Sequence[str]) -> dict[str, Tally]:
        query = f"{_TALLIES} ({', '.join('?' * len(accounts))})"
        (found,) = self._connection.execute(query, accounts).fetchone()
        return _tallies.decode(found)

    def history(self, account: str, since: int, grain: int) -> Sequence[Grain]:
        over, below = _below(account)
        values = {"path": account, "over": over, "below": below, "since": since, "grain": grain}
        (found,) = self._connection.execute(_HISTORY, values).fetchone()
        return _history.decode(found)

    def put(self, grant: Grant | None, tallies: Mapping[str, Tally]) -> None:
        values = [value for name, tally in tallies.items() for value in (name, msgspec.json.encode(tally).decode())]
        rows = ", ".join(["(?, ?)"] * len(tallies))
        self._connection.execute(f"insert into ledger_account (account, tally) values {rows} {_PUT_TALLIES}", values)
        if grant is not None:
            spent = (None, None, None) if grant.spent is None else grant.spent.numbers
            path = "/".join(grant.path)
            row = (grant.key, path, *grant.amount.numbers, grant.opened_at, *spent, grant.settled_at)
            self._connection.execute(_PUT_GRANT, row)

    def forget(self, until: int) -> None:
        self._connection.execute(_FORGET, (until,))


def _open_grants(connection: Connection, path: str, limit: int, after: Grant | None) -> list[Grant]:
    over, below = _below(path) if path else ("", "\U0010ffff")  # which cannot be printed, and so begins no name
    # One bound from below, so that the index is entered where the page begins; no key is empty.
    first = max((path, ""), ("/".join(after.path), after.key) if after else ("", ""))
    values = {
        "path": path,
        "over": over,
        "below": below,
        "after_path": first[0],
        "after_key": first[1],
        "limit": max(limit, 0),
    }
    (found,) = connection.execute(_OPEN, values).fetchone()
    return [_grant(row) for row in _grants.decode(found)]


def _below(path: str) -> tuple[str, str]:
    # Between "a/" and "a0", the next character, lies every account below "a" and nothing else.
    return f"{path}/", f"{path}0"


def _grant(row: Any) -> Grant:
    return Grant(
        key=row[0],
        path=tuple(row[1].split("/")),
        amount=Amount(*row[2:5]),
        opened_at=row[5],
        spent=None if row[9] is None else Amount(*row[6:9]),
        settled_at=row[9],
    )


def _capped(connection: Connection, depth: int, limit: int) -> list[Account]:
    found = connection.execute(_CAPPED, {"depth": depth, "limit": limit}).fetchone()[0]
    return [tuple(account.split("/")) for account in msgspec.json.decode(found, type=list[str])]
