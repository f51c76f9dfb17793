"""How much somebody asks: requests by buckets in memory, tokens and dollars by the accounts of the ledger.

Requests are counted by each process for itself: by whoever asks, by their tenant, and by address for those who have
not said who they are. A request that one bucket has nothing left for takes nothing out of another.

Tokens and dollars are counted where they are spent, by the ledger, in every process: nothing here adds them up. What
is asked here, before a model is, is whether a window of the tenant's or the user's account is used up, and when it
will not be; that is remembered for a second, so that it costs a busy server two reads a second for each user.
"""

from __future__ import annotations

from typing import Final, final

from holdfast.flow.clock import Clock
from holdfast.flow.ids import new_key
from holdfast.ledger.amounts import Account, Amount
from holdfast.ledger.port import Denied, Ledger
from holdfast.server.access.buckets import Buckets, Rate, client_name, whole_seconds
from holdfast.server.access.principal import Principal, Rates
from holdfast.server.access.shelf import Fresh
from holdfast.server.access.tenants import Tenant
from holdfast.server.governing.capping import Capping
from holdfast.server.parts import Throttle
from holdfast.server.problems import Refused

__all__ = ("AT_ONCE", "RateThrottle")

AT_ONCE: Final = 5.0
"""Seconds whose requests may come at once."""
_REMEMBERED: Final = 50_000
_LEAST: Final = Amount(tokens=1, cost=1)
"""What is asked of an account to hear when it has something left."""


@final
class RateThrottle(Throttle):
    """Bounds what principals, tenants and strangers ask."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        tenants: dict[str, Tenant] | None = None,
        strangers: float | None = None,
        capping: Capping | None = None,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._tenants = tenants or {}
        self._strangers = strangers
        self._capping = capping
        self._buckets = Buckets(clock)
        self._spent = Fresh(self._look, clock)
        self._capped: dict[tuple[str, str, Rates], None] = {}
        """Users whose accounts are known to have the caps of their rates."""

    async def admit(self, who: Principal | None, client: str) -> None:
        """Ends quietly when one request more is within the rates.

        Raises:
            Refused: it is not; says in how many seconds it will be.
        """
        if who is not None:
            await self._cap(who)
        bounds = self._bounds(who, client)
        if not bounds:
            return
        seconds, name = max((self._buckets.wait(name, rate), name) for name, rate in bounds)
        if seconds > 0:
            whose = {"u": "you", "t": "your tenant", "c": "this address"}[name[0]]
            raise Refused(
                429,
                "rate_limited",
                f"more requests than {whose} may make: wait as long as `retry-after` says",
                headers={"retry-after": whole_seconds(seconds)},
            )
        for name, rate in bounds:
            self._buckets.take(name, rate)

    async def afford(self, who: Principal) -> None:
        """Ends quietly while the accounts of a principal have tokens and dollars left.

        Raises:
            Refused: one has not; says when it will, where waiting is enough.
        """
        name = f"{who.tenant}/{who.user}"
        known = self._spent.held(name)
        if known is not None and known[0] is not None and (known[0].again_at or 0) <= self._clock.now():
            self._spent.forget(name)  # it may be over: whoever waited as long as they were told is not told again
        found = await self._spent.get(name)
        denied = None if found is None else found[0]
        if denied is None:
            return
        if denied.again_at is not None:
            seconds = max(0.0, (denied.again_at - self._clock.now()) / 1e6)
            headers = {"retry-after": whole_seconds(seconds)}
            then = "wait as long as `retry-after` says"
        else:
            headers, then = {}, "what is running holds the rest, or the cap has to be raised (holdfast budget)"
        whose = "your tenant" if len(denied.account) == 1 else "you"
        unit = {"tokens": "tokens", "cost": "dollars", "time": "time"}[denied.dimension]
        raise Refused(429, "budget_exhausted", f"{whose} may spend no more {unit} now: {then}", headers=headers)

    async def _cap(self, who: Principal) -> None:
        """Sees that a user's account has the caps that are configured, and no others of a configuration, before they
        spend anything.
        """
        each, own = self._tenants.get(who.tenant, _NOTHING).each, who.rates
        rates = Rates(
            tokens=each.tokens if own.tokens is None else own.tokens,
            dollars=each.dollars if own.dollars is None else own.dollars,
        )
        known = (who.tenant, who.user, rates)
        if self._capping is None or known in self._capped:
            return
        await self._capping.follow_user((who.tenant, who.user), rates)
        self._capped[known] = None
        if len(self._capped) > _REMEMBERED:
            del self._capped[next(iter(self._capped))]

    def _bounds(self, who: Principal | None, client: str) -> list[tuple[str, Rate]]:
        if who is None:
            return _rate(f"c {client_name(client)}", self._strangers)
        tenant = self._tenants.get(who.tenant, _NOTHING)
        own_key = who.how == "key" and who.rates.requests is not None  # else a user with many keys had as many rates
        own = who.rates.requests if who.rates.requests is not None else tenant.each.requests
        return [
            *_rate(f"u {who.tenant}/{who.user}/{who.how}:{who.id}" if own_key else _user(who), own),
            *_rate(f"t {who.tenant}", tenant.rates.requests),
        ]

    async def _look(self, name: str) -> tuple[Denied | None]:
        """Returns what is in the way of a user's spending anything; None in it where nothing is."""
        tenant, _, user = name.partition("/")
        for account in ((tenant,), (tenant, user)):
            if await self._exhausted(account) and (denied := await self._why((tenant, user))) is not None:
                return (denied,)
        return (None,)

    async def _exhausted(self, account: Account) -> bool:
        balance = await self._ledger.balance(account)
        return any(left == 0 for standing in balance.standings for left in standing.left[:2])

    async def _why(self, account: Account) -> Denied | None:
        """Asks for next to nothing, to hear why not even that; what is granted after all is given back."""
        key = f"may-{new_key()}"
        found = await self._ledger.grant(account, _LEAST, key)
        if isinstance(found, Denied):
            return found
        await self._ledger.release(key)
        return None


_NOTHING: Final = Tenant()


def _user(who: Principal) -> str:
    return f"u {who.tenant}/{who.user}"


def _rate(name: str, requests: float | None) -> list[tuple[str, Rate]]:
    if requests is None:
        return []
    return [(name, Rate(requests, max(1.0, requests * AT_ONCE)))]
