"""Caps that come from a server's configuration: they follow it, whoever else has caps in the same store."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.governing import guarding
from tests.surfaces.commands import Shell

from holdfast import Runtime
from holdfast.ledger.amounts import Account, Cap
from holdfast.server.access.principal import Principal, Rates
from holdfast.server.access.settings import AccessSettings
from holdfast.server.access.tenants import Tenant
from holdfast.server.access.tokens.issuer import Issuer
from holdfast.server.governing.capping import BELIEVED, DAY, MINUTE
from holdfast.server.governing.opening import Governed, governed
from holdfast.testing.clock import FakeClock

DOLLARS = 1_000_000_000


def of_acme(rates: Rates | None = None, each: Rates | None = None, **more: object) -> AccessSettings:
    tenant = Tenant(rates=rates or Rates(), each=each or Rates())
    return AccessSettings(tenants={"acme": tenant}, **more)  # type: ignore[arg-type]


def user(name: str, tenant: str = "acme", rates: Rates | None = None) -> Principal:
    return Principal(tenant=tenant, user=name, scopes=frozenset(), how="key", rates=rates or Rates())  # type: ignore[arg-type]


class Store:
    """A store over which servers start and end."""

    def __init__(self, runtime: Runtime, clock: FakeClock) -> None:
        self.runtime, self.clock = runtime, clock

    @asynccontextmanager
    async def server(self, name: str, settings: AccessSettings | None = None) -> AsyncGenerator[Governed]:
        async with governed(self.runtime, self.clock, settings or AccessSettings(), name=name) as who:
            yield who

    async def caps(self, *account: str) -> set[tuple[int | None, int | None, int | None]]:
        """Returns tokens, nanodollars and window of each cap."""
        return {(cap.tokens, cap.cost, cap.window) for cap in await self.runtime.ledger.caps(account)}

    async def by_hand(self, account: Account, cap: Cap) -> None:
        await self.runtime.ledger.set_caps(account, [*await self.runtime.ledger.caps(account), cap])


@asynccontextmanager
async def a_store() -> AsyncGenerator[Store]:
    clock = FakeClock()
    async with Runtime.open("memory:", clock=clock) as runtime:
        yield Store(runtime, clock)


@pytest.mark.requirement("server_access:caps-follow", "server_access:spending")
async def test_what_a_configuration_no_longer_names_is_gone_when_its_server_starts_again() -> None:
    async with a_store() as store:
        async with store.server("a.yaml", of_acme(Rates(tokens=1100, dollars=25))):
            assert await store.caps("acme") == {(1100, None, MINUTE), (None, 25 * DOLLARS, DAY)}
        assert await store.caps("acme"), "runs elsewhere are bounded also while the server is away"
        async with store.server("a.yaml", of_acme(Rates(tokens=900_000))):
            assert await store.caps("acme") == {(900_000, None, MINUTE)}
        async with store.server("a.yaml"):
            assert await store.caps("acme") == set()


@pytest.mark.requirement("server_access:caps-follow")
async def test_a_server_without_the_configuration_takes_away_what_nobody_serves_by_any_more() -> None:
    async with a_store() as store:
        async with store.server("a.yaml", of_acme(Rates(dollars=25))):
            async with store.server(""):
                assert await store.caps("acme") == {(None, 25 * DOLLARS, DAY)}, "another server runs by it"
            async with store.server("b.yaml", of_acme(Rates(dollars=3, tokens=7))):
                both = {(None, 25 * DOLLARS, DAY), (None, 3 * DOLLARS, DAY), (7, None, MINUTE)}
                assert await store.caps("acme") == both, "of two servers that run, both hold"
        async with store.server(""):
            assert await store.caps("acme") == set()


@pytest.mark.requirement("server_access:caps-follow")
async def test_a_server_that_was_killed_is_believed_for_a_while_and_not_for_ever() -> None:
    async with a_store() as store:
        killed = store.server("a.yaml", of_acme(Rates(tokens=5)))
        await killed.__aenter__()
        await store.clock.advance(BELIEVED + 100)
        async with store.server(""):
            assert await store.caps("acme") == {(5, None, MINUTE)}, "it says every minute that it is there"
        await killed.__aexit__(None, None, None)
        async with store.server(""):
            assert await store.caps("acme") == set()


@pytest.mark.requirement("server_access:caps-follow", "server_access:spending")
async def test_caps_that_a_person_set_stay_whatever_a_configuration_says_or_no_longer_says() -> None:
    async with a_store() as store:
        await store.by_hand(("acme",), Cap(tokens=7))
        await store.by_hand(("acme",), Cap(cost=9, window=DAY))
        async with store.server("a.yaml", of_acme(Rates(dollars=2.0))):
            assert await store.caps("acme") == {(7, None, None), (None, 9, DAY), (None, 2 * DOLLARS, DAY)}
        async with governed(store.runtime, store.clock):
            assert len(await store.caps("acme")) == 3, "commands for keys and users serve nobody"
        async with store.server("a.yaml"):
            assert await store.caps("acme") == {(7, None, None), (None, 9, DAY)}


@pytest.mark.requirement("server_access:caps-follow")
async def test_caps_of_users_follow_at_their_first_request_and_an_issuers_stay_for_who_comes_by_a_key() -> None:
    issuer = Issuer(issuer="https://id.example", audience="us", tenant="acme", rates=Rates(tokens=50))
    async with a_store() as store:
        async with store.server("a.yaml", of_acme(each=Rates(dollars=1), issuers=(issuer,))) as who:
            await who.throttle.admit(user("bob", rates=Rates(tokens=50)), "")
            await who.throttle.admit(user("bob"), "")
            assert await store.caps("acme", "bob") == {(50, None, MINUTE), (None, DOLLARS, DAY)}
        async with store.server("a.yaml", of_acme(each=Rates(dollars=2), issuers=(issuer,))) as who:
            await who.throttle.admit(user("bob"), "")
            assert await store.caps("acme", "bob") == {(50, None, MINUTE), (None, 2 * DOLLARS, DAY)}
        async with store.server("a.yaml") as who:
            await who.throttle.admit(user("bob"), "")
            assert await store.caps("acme", "bob") == set()


@pytest.mark.requirement("server_cli:budget-tenants")
async def test_budget_takes_each_name_that_it_lists_and_refuses_what_two_are_called(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    (tmp_path / "data" / "holdfast").mkdir(parents=True)
    each = {"acme": Tenant(rates=Rates(tokens=1100, dollars=25), each=Rates(dollars=3))}
    async with guarding(AccessSettings(tenants=each), url=sh.store) as served:
        await served.who.throttle.admit(user("bob"), "")
    names = [one["account"] for one in json.loads(sh.run("budget", "list", "-o", "json").stdout)]
    assert names == ["acme", "acme/bob"]
    assert "by serve" in sh.run("budget", "list").stdout
    assert "of $25.00 per 1d" in sh.run("budget", "show", "acme").stdout
    assert "of $3.00 per 1d" in sh.run("budget", "show", "bob", "--tenant", "acme").stdout
    assert sh.run("budget", "set", "acme", "--tokens", "5").returncode == 0
    cleared = sh.run("budget", "clear", "acme", "--per", "1m", "-o", "json")
    left = json.loads(cleared.stdout)
    assert [cap["per_seconds"] for cap in left["caps"]] == [86400, None] and left["account"] == "acme"
    assert "says it again when that server starts" in cleared.stderr
    assert json.loads(sh.run("budget", "clear", "acme/bob", "--all", "-o", "json").stdout)["caps"] == []

    sh.run("budget", "set", "local/acme", "--tokens", "9")
    both = sh.run("budget", "clear", "acme", "--all")
    assert both.returncode == 2 and "write local/acme, or --tenant" in both.stderr
    assert sh.run("budget", "clear", "--tenant", "acme", "--all").returncode == 0
    assert sh.run("budget", "clear", "local/acme").returncode == 0
    assert json.loads(sh.run("budget", "list", "-o", "json").stdout) == []
    assert "say which account" in sh.run("budget", "clear", "--all").stderr
