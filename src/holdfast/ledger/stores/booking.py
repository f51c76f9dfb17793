"""What each call of a ledger does to the rows of a store, within one transaction of it.

The adapters differ only in where their rows lie (`Rows`); what is read, decided and written stands here once. Every
change touches the grant's row and one row for each account of its path, and nothing else; a settlement also drops a few
rows of grants that nobody needs any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from holdfast.errors import UsageError
from holdfast.ledger.amounts import LONGEST, Account, Amount, Cap, account_id, check_amount
from holdfast.ledger.port import KEPT, KEY_LIMIT, Balance, Denied, Grant, Settled
from holdfast.ledger.stores.tallies import (
    Grain,
    Tally,
    Window,
    allowed,
    freed,
    grain_of,
    held,
    recapped,
    settled,
    standings,
)

__all__ = (
    "Rows",
    "check_key",
    "check_request",
    "check_settlement",
    "grant",
    "grow",
    "reset",
    "set_caps",
    "settle",
    "shrink",
    "standing",
)


class Rows(Protocol):
    """Rows as one transaction sees them."""

    def grant(self, key: str) -> Grant | None:
        """Returns the grant of that key."""
        ...

    def tallies(self, accounts: Sequence[str]) -> dict[str, Tally]:
        """Returns the tallies of those of the accounts that have one."""
        ...

    def history(self, account: str, since: int, grain: int) -> Sequence[Grain]:
        """Returns what was settled at an account after a time, by grains of so many µs, oldest first."""
        ...

    def put(self, grant: Grant | None, tallies: Mapping[str, Tally]) -> None:
        """Writes a grant and tallies in the place of earlier ones."""
        ...

    def forget(self, until: int) -> None:
        """Drops grants that were settled no later than that: the oldest few, and more of them than one."""
        ...


def check_key(key: str) -> None:
    """Sees that a key can be kept.

    Raises:
        UsageError: it is empty, too long, or holds characters that cannot be printed.
    """
    if not 1 <= len(key) <= KEY_LIMIT or not key.isprintable():
        raise UsageError(
            f"{key[:40]!r} cannot be the key of a grant: use 1 to {KEY_LIMIT} printable characters, such as a digest"
        )


def check_request(key: str, amount: Amount, least: Amount | None) -> None:
    """Sees that a request for a grant makes sense, before a transaction is begun for it.

    Raises:
        UsageError: it does not.
    """
    check_key(key)
    check_amount(amount)
    if least is not None and not least.within(amount):
        raise UsageError(f"at least {least!r} of {amount!r} cannot be granted: ask for an amount that is not smaller")


def check_settlement(key: str, spent: Amount, path: Account | None) -> None:
    """Sees that a settlement makes sense, before a transaction is begun for it.

    Raises:
        UsageError: it does not.
    """
    check_amount(spent)
    if path is not None:
        check_key(key)
        account_id(path)


def grant(rows: Rows, path: Account, amount: Amount, key: str, least: Amount | None, now: int) -> Grant | Denied:
    """Grants, or says why not; the grant of that key if there is one.

    Raises:
        UsageError: the key belongs to a grant on another path.
    """
    found = _known(rows, key, path)
    if found is not None:
        return found
    return _take(rows, Grant(key=key, path=path, amount=Amount(), opened_at=now), amount, least, now)


def grow(rows: Rows, key: str, amount: Amount, least: Amount | None, now: int) -> Grant | Denied:
    """Makes an open grant larger, or says why not.

    Raises:
        UsageError: there is no open grant of that key.
    """
    found = _open(rows, key)
    more = amount.beyond(found.amount)
    if more == Amount():
        return found
    return _take(rows, found, more, None if least is None else least.beyond(found.amount), now)


def shrink(rows: Rows, key: str, amount: Amount) -> Grant:
    """Makes an open grant smaller.

    Raises:
        UsageError: there is no open grant of that key.
    """
    found = _open(rows, key)
    less = found.amount.beyond(amount)
    if less == Amount():
        return found
    smaller = replace(found, amount=found.amount.smaller(amount))
    rows.put(smaller, {account_id(node): freed(tally, less) for node, tally in _line(rows, found.path)})
    return smaller


def settle(rows: Rows, key: str, spent: Amount, path: Account | None, now: int) -> Settled:
    """Ends a grant, or says how it ended before; with a path, one that nobody took is an empty one there.

    Raises:
        UsageError: there is no grant of that key and no path, or it is on another one.
    """
    if path is None:
        found = _found(rows, key)
    else:
        found = _known(rows, key, path) or Grant(key=key, path=path, amount=Amount(), opened_at=now)
    if found.spent is not None:
        return Settled(key=key, granted=found.amount, spent=found.spent)
    line = _line(rows, found.path)
    over = replace(found, spent=spent, settled_at=now)
    rows.put(over, {account_id(node): settled(tally, found.amount, spent, now) for node, tally in line})
    rows.forget(now - KEPT)
    return Settled(key=key, granted=found.amount, spent=spent)


def set_caps(rows: Rows, account: Account, caps: Sequence[Cap], now: int) -> None:
    """Replaces an account's caps, and looks up what was settled in windows that are new.

    Raises:
        UsageError: the account's name is not valid, or a window is too long.
    """
    name = account_id(account)
    if (longest := max((cap.window or 0 for cap in caps), default=0)) > LONGEST:
        raise UsageError(
            f"a window of {longest / 86_400e6:g} days reaches further back than the ledger knows: make it "
            f"{LONGEST // 86_400_000_000} days at most, or let the cap hold for ever"
        )
    tally = _tally(rows, name)
    known = {window.length for window in tally.windows}
    wanted = {cap.window for cap in caps if cap.window is not None}
    new = [_window(rows, name, length, now, tally.since) for length in sorted(wanted - known)]
    rows.put(None, {name: recapped(tally, caps, new)})


def reset(rows: Rows, account: Account, now: int) -> None:
    """Has an account begin anew.

    Raises:
        UsageError: grants on its path are open, or its name is not valid.
    """
    name = account_id(account)
    tally = _tally(rows, name)
    if tally.open != Amount():
        raise UsageError(
            f"runs that draw on account {name!r} are open, and what they come to is charged there: wait until they are "
            "over, or abort them"
        )
    if tally != Tally():
        rows.put(None, {name: Tally(since=now - 1)})  # of what is settled in this very µs, too much counts


def standing(rows: Rows, account: Account, now: int) -> Balance:
    """Returns how an account stands."""
    tally = _tally(rows, account_id(account))
    return Balance(account=account, settled=tally.settled, open=tally.open, standings=tuple(standings(tally, now)))


def _take(rows: Rows, grant: Grant, wanted: Amount, least: Amount | None, now: int) -> Grant | Denied:
    line = _line(rows, grant.path)
    more, denied = allowed(line, wanted, least, now)
    if denied is not None:
        return denied
    larger = replace(grant, amount=grant.amount + more)
    rows.put(larger, {account_id(node): held(tally, more) for node, tally in line})
    return larger


def _line(rows: Rows, path: Account) -> list[tuple[Account, Tally]]:
    """Returns the accounts of a path, outermost first."""
    nodes = [path[:depth] for depth in range(1, len(path) + 1)]
    found = rows.tallies([account_id(node) for node in nodes])
    return [(node, found.get(account_id(node), Tally())) for node in nodes]


def _tally(rows: Rows, account: str) -> Tally:
    return rows.tallies([account]).get(account, Tally())


def _window(rows: Rows, account: str, length: int, now: int, since: int) -> Window:
    # Two grains more than can count: what is too old is left out by the rules.
    grain = grain_of(length)
    return Window(length, tuple(rows.history(account, max(since, now - length - 2 * grain), grain)))


def _open(rows: Rows, key: str) -> Grant:
    found = _found(rows, key)
    if not found.open:
        raise UsageError(f"the grant {key!r} was settled and stays as it is: ask for a new one under another key")
    return found


def _known(rows: Rows, key: str, path: Account) -> Grant | None:
    found = rows.grant(key)
    if found is not None and found.path != path:
        raise UsageError(f"the key {key!r} belongs to a grant on another path: give each grant a key of its own")
    return found


def _found(rows: Rows, key: str) -> Grant:
    found = rows.grant(key)
    if found is None:
        raise UsageError(f"there is no grant {key!r}: ask for it first, or look for it among the open grants")
    return found
