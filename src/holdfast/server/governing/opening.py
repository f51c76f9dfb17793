"""All that concerns who may, opened over a runtime, as one value that a server is given."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from holdfast.errors import HoldfastError
from holdfast.flow.clock import Clock
from holdfast.runtime.opening import open_values
from holdfast.runtime.runtime import Runtime
from holdfast.server.access.buckets import Buckets, Rate
from holdfast.server.access.chain import Chain
from holdfast.server.access.keys.keeping import Keys
from holdfast.server.access.keys.using import EVERY
from holdfast.server.access.listed import ListedTokens
from holdfast.server.access.naming import check_tenant
from holdfast.server.access.settings import AccessSettings
from holdfast.server.access.tenants import check_rates
from holdfast.server.access.tokens.verifying import Tokens
from holdfast.server.access.users.entering import Logins
from holdfast.server.access.users.keeping import Users
from holdfast.server.access.users.passwords import Passwords
from holdfast.server.governing.auditing import Audit
from holdfast.server.governing.capping import Capping
from holdfast.server.governing.throttling import RateThrottle
from holdfast.server.parts import Observer

__all__ = ("LOGINS", "Governed", "governed")

LOGINS: Final = Rate(10 / 60, 20.0)
"""Attempts to log in of one address: ten in a minute, twenty at once (source: Orloj 6.2)."""


class Governed(msgspec.Struct, frozen=True, kw_only=True):
    """Who may, how much, and what was decided. A server is given `access`, `throttle` and `audit` (its observer), and
    the whole among its `parts`, by its type, for the doors through which it is changed.
    """

    access: Chain
    throttle: RateThrottle
    audit: Audit
    keys: Keys
    users: Users
    logins: Logins
    passwords: Passwords
    attempts: Buckets
    """Of people who try to log in, by address."""
    setup_token: str
    """What makes the first user; shown by whoever starts the server, and to nobody else."""
    settings: AccessSettings
    clock: Clock
    runtime: Runtime


@asynccontextmanager
async def governed(
    runtime: Runtime,
    clock: Clock,
    settings: AccessSettings | None = None,
    observer: Observer | None = None,
    *,
    name: str = "",
) -> AsyncGenerator[Governed]:
    """Opens who may use a runtime; an `observer` is told what the audit is told.

    With `settings`, caps of tenants and users follow their rates; `name` is the configuration's, by which its caps are
    known again. Without any, nobody is served, and they stay as they are.

    Raises:
        UsageError: something in the settings cannot be.
        StorageError: the store does not answer.
    """
    given = settings or AccessSettings()
    listed = ListedTokens(given.tokens) if given.tokens else None
    tokens = Tokens(given.issuers, clock) if given.issuers else None
    for each, tenant in given.tenants.items():
        check_tenant(each)
        check_rates(tenant.rates)
        check_rates(tenant.each)
    values = open_values(runtime.journal, clock)
    capping = None if settings is None else Capping(runtime.ledger, values, clock, settings, name)
    if capping is not None:
        await capping.begin()
    passwords = Passwords()
    keys, users = Keys(values, clock), Users(values, clock, passwords)
    logins = Logins(values, clock, users, lifetime=given.login_hours * 3600, https=given.https, origins=given.origins)
    access = Chain(clock, keys, users, logins, listed=listed, tokens=tokens, required=given.required)
    audit = Audit(values, clock, observer, given.audit_days)
    uses = asyncio.create_task(_keep_writing(keys, capping, clock))
    try:
        yield Governed(
            access=access,
            throttle=RateThrottle(runtime.ledger, clock, given.tenants, given.strangers, capping),
            audit=audit,
            keys=keys,
            users=users,
            logins=logins,
            passwords=passwords,
            attempts=Buckets(clock),
            setup_token=given.setup_token or secrets.token_urlsafe(24),
            settings=given,
            clock=clock,
            runtime=runtime,
        )
    finally:
        uses.cancel()
        await asyncio.gather(uses, return_exceptions=True)
        await access.close()
        passwords.close()
        await audit.close()
        await _write(keys.uses.write())
        if capping is not None:
            await _write(capping.end())


async def _keep_writing(keys: Keys, capping: Capping | None, clock: Clock) -> None:
    while True:
        await clock.sleep(EVERY)
        await _write(keys.uses.write())
        if capping is not None:
            await _write(capping.alive())


async def _write(writing: Coroutine[Any, Any, object]) -> None:
    try:
        await writing
    except HoldfastError:  # it is done the next time
        return
