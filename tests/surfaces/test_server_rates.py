"""How much may be asked: requests, tokens, dollars; and that what is told about waiting is true."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.governing import Guarded, guarding

from holdfast.errors import UsageError
from holdfast.ledger.amounts import Amount, Cap
from holdfast.server.access.buckets import Buckets, Rate, client_name, whole_seconds
from holdfast.server.access.principal import Rates
from holdfast.server.access.settings import AccessSettings
from holdfast.server.access.tenants import Tenant, policies_of
from holdfast.server.governing.capping import DAY
from holdfast.server.problems import Refused
from holdfast.testing.clock import FakeClock
from holdfast.tools.authorising.blocking import judge_provider_tool
from holdfast.tools.authorising.deciding import judge_call, table_of
from holdfast.tools.authorising.policy import Draft, ToolPermission
from holdfast.tools.authorising.scopes import ArgumentScope
from holdfast.types import AgentSpec, ToolSpec


async def ask_until_refused(served: Guarded, key: str, most: int) -> tuple[int, int]:
    """Returns how many requests were answered, and after how many seconds to ask again."""
    for number in range(most):
        status, _, answer = await served.ask("GET", "/v1/keys", key=key)
        if status == 429:
            return number, int(answer.headers["retry-after"])
    return most, 0


@pytest.mark.requirement("server_access:rates", "server:limits-burst", "ledger:rate-window-refuses-burst")
async def test_a_key_and_a_tenant_have_rates_and_whoever_waits_as_told_is_let() -> None:
    clock = FakeClock()
    tenants = {"acme": Tenant(rates=Rates(requests=4.0), each=Rates(requests=2.0))}
    async with guarding(AccessSettings(required=True, tenants=tenants), clock=clock) as served:
        slow = await served.key("acme", rates=Rates(requests=0.5))
        assert await ask_until_refused(served, slow, 10) == (2, 1)  # two and a half of them at once
        await clock.advance(1)
        assert (await ask_until_refused(served, slow, 10))[0] == 1
        await clock.advance(60)
        one, two, third = [await served.key("acme", user=name) for name in ("one", "two", "three")]
        assert await ask_until_refused(served, one, 99) == (10, 1)
        assert await ask_until_refused(served, two, 99) == (10, 1)
        assert await ask_until_refused(served, third, 99) == (0, 1), "the tenant's twenty are used up"
        await clock.advance(1)
        assert (await ask_until_refused(served, third, 99))[0] == 4
        other = await served.key("local")
        assert await ask_until_refused(served, other, 60) == (60, 0), "others are not concerned"


@pytest.mark.requirement("server_access:rates")
async def test_a_request_that_the_tenant_has_nothing_left_for_takes_nothing_of_the_users_own() -> None:
    clock = FakeClock()
    tenants = {"acme": Tenant(rates=Rates(requests=1.0))}
    async with guarding(AccessSettings(required=True, tenants=tenants), clock=clock) as served:
        one, two = [await served.key("acme", user=name, rates=Rates(requests=2.0)) for name in ("one", "two")]
        assert (await ask_until_refused(served, one, 99))[0] == 5
        for _ in range(30):
            assert (await served.ask("GET", "/v1/keys", key=two))[0] == 429
        await clock.advance(5)
        assert (await ask_until_refused(served, two, 99))[0] == 5


@pytest.mark.requirement("server_access:rates")
async def test_whoever_has_not_said_who_they_are_is_counted_by_address() -> None:
    clock = FakeClock()
    settings_ = AccessSettings(required=True, strangers=2.0)
    async with guarding(settings_, clock=clock, proxies=["127.0.0.1"]) as served:

        async def status(line: str) -> int:
            return (await served.ask("GET", "/v1/auth/config", x_forwarded_for=line))[0]

        assert [await status("203.0.113.7") for _ in range(11)] == [200] * 10 + [429]
        assert await status("203.0.113.8") == 200
        assert [await status(f"2001:db8:1:2::{n}") for n in range(11)] == [200] * 10 + [429], "a network is one"
        assert await status("2001:db8:1:3::1") == 200
        assert [await status(f"<b>{n}\u00e9") for n in range(11)] == [200] * 10 + [429], "no address is one, too"
        key = await served.key()
        assert (await served.ask("GET", "/v1/keys", key=key, x_forwarded_for="203.0.113.7"))[0] == 200


@pytest.mark.requirement("server_access:rates-true")
@settings(max_examples=200, deadline=None)
@given(rate=st.floats(0.01, 5000), burst=st.floats(1, 500), steps=st.lists(st.floats(0, 30), min_size=1, max_size=60))
def test_whoever_waits_as_many_seconds_as_were_told_is_always_let(
    rate: float, burst: float, steps: list[float]
) -> None:
    async def go() -> None:
        clock = FakeClock()
        buckets, bound, let = Buckets(clock), Rate(rate, burst), 0
        for step in steps:
            await clock.advance(step)
            for _ in range(3):
                seconds = buckets.take("x", bound)
                let += not seconds
                if seconds:
                    await clock.advance(int(whole_seconds(seconds)))
                    assert buckets.take("x", bound) == 0
                    let += 1
        assert let <= burst + rate * clock.monotonic() + 1e-3

    asyncio.run(go())


@pytest.mark.requirement("server_access:rates")
def test_a_million_of_strangers_fill_no_memory() -> None:
    buckets = Buckets(FakeClock(), most=1000)
    for number in range(50_000):
        buckets.take(str(number), Rate(0.001, 5.0))
    assert len(buckets) <= 1000
    assert client_name("::ffff:192.0.2.1") == client_name("192.0.2.1") and client_name("x" * 999) == "unknown"


@pytest.mark.requirement("server_access:spending")
async def test_tokens_and_dollars_are_bounded_by_the_ledger_and_the_time_that_is_told_is_true() -> None:
    clock = FakeClock()
    tenants = {"acme": Tenant(rates=Rates(tokens=1000, dollars=2.0))}
    async with guarding(AccessSettings(required=True, tenants=tenants), clock=clock) as served:
        ledger, throttle = served.who.runtime.ledger, served.who.throttle
        assert {cap.window for cap in await ledger.caps(("acme",))} == {60_000_000, DAY}
        who = await served.who.keys.recognise(await served.key("acme", role="writer"))
        other = await served.who.keys.recognise(await served.key("other", role="writer"))
        assert who is not None and other is not None
        await throttle.afford(who)
        await ledger.grant(("acme", "ada", "s", "r"), Amount(tokens=1000, cost=1), "one")
        await clock.advance(1)
        with pytest.raises(Refused) as refused:
            await throttle.afford(who)
        assert "retry-after" not in refused.value.headers, "nobody knows when what is open is given back"
        await ledger.settle("one", Amount(tokens=1000, cost=1))
        await clock.advance(1)
        with pytest.raises(Refused) as refused:
            await throttle.afford(who)
        assert (refused.value.status, refused.value.code) == (429, "budget_exhausted")
        seconds = int(refused.value.headers["retry-after"])
        assert 55 <= seconds <= 62
        await throttle.afford(other)
        await clock.advance(seconds - 2)
        with pytest.raises(Refused) as refused:
            await throttle.afford(who)
        await clock.advance(int(refused.value.headers["retry-after"]))
        await throttle.afford(who)

        await ledger.set_caps(("acme", "ada"), [Cap(cost=5, window=DAY)])
        await ledger.settle("two", Amount(cost=5), path=("acme", "ada", "s", "r"))
        await clock.advance(1)
        with pytest.raises(Refused, match="you may spend no more dollars") as refused:
            await throttle.afford(who)
        await clock.advance(int(refused.value.headers["retry-after"]))
        await throttle.afford(who)
        assert await ledger.open_grants() == []


@pytest.mark.requirement("server_access:spending")
async def test_each_user_of_a_tenant_has_the_caps_that_are_configured_from_their_first_request_on() -> None:
    tenants = {"acme": Tenant(each=Rates(tokens=500, dollars=1.0))}
    async with guarding(AccessSettings(required=True, tenants=tenants)) as served:
        ledger = served.who.runtime.ledger
        key, other = await served.key("acme", user="bob"), await served.key("local", user="bob")
        assert (await served.ask("GET", "/v1/keys", key=key))[0] == 200
        assert (await served.ask("GET", "/v1/keys", key=other))[0] == 200
        assert {cap.limits for cap in await ledger.caps(("acme", "bob"))} == {
            (500, None, None),
            (None, 1_000_000_000, None),
        }
        assert await ledger.caps(("local", "bob")) == ()
    for bad in (Rates(requests=0), Rates(tokens=-1), Rates(dollars=float("nan"))):
        with pytest.raises(UsageError):
            async with guarding(AccessSettings(tenants={"acme": Tenant(rates=bad)})):
                pass


@pytest.mark.requirement("server_access:tenant-tools", "control:tenant-tool-list")
def test_a_tenants_policy_bounds_its_agents_and_nobody_elses() -> None:
    scope = ArgumentScope(argument="url", kind="url", allow=("https://*.acme.example",))
    rule = ToolPermission(tool="fetch", scopes=(scope,))
    tenants = {"acme": Tenant(policy=Draft(permissions=(rule,), blocked_tools=("bash",), allowed_models=("x/*",)))}
    policies = policies_of(tenants)
    tools = [ToolSpec(name=name, description="", parameters={}) for name in ("fetch", "bash")]
    agent = AgentSpec(name="a", model="x/y")
    acme, other = table_of(policies, agent, tools, "acme"), table_of(policies, agent, tools, "other")
    assert judge_call(acme, "bash", "{}").verdict == "deny"
    assert judge_call(acme, "fetch", '{"url": "https://api.acme.example/x"}').verdict == "allow"
    assert judge_call(acme, "fetch", '{"url": "https://evil.example/x"}').verdict == "deny"
    assert not other
    only = policies_of({"acme": Tenant(policy=Draft(permissions=(rule,), only_tools=("fetch", "search_*")))})
    acme = table_of(only, agent, tools, "acme")
    assert judge_call(acme, "bash", "{}").verdict == "deny" and "not among" in judge_call(acme, "bash", "{}").rule
    assert judge_call(acme, "fetch", '{"url": "https://api.acme.example/x"}').verdict == "allow"
    assert judge_call(acme, "fetch", '{"url": "https://evil.example/x"}').verdict == "deny"
    own = msgspec.structs.replace(agent, allowed_tools=("bash",))
    assert judge_call(table_of(only, own, tools, "acme"), "bash", "{}").verdict == "deny", "whatever the agent says"
    assert judge_provider_tool(only, "a", "web_search_20260101", "acme").verdict == "deny"
    assert judge_provider_tool(only, "a", "search_web_20260101", "acme").verdict == "allow"
    assert judge_provider_tool(only, "a", "web_search_20260101", "other").verdict == "allow"
    with pytest.raises(UsageError, match="names tenants"):
        policies_of({"acme": Tenant(policy=Draft(tenants=("other",), blocked_tools=("bash",)))})
