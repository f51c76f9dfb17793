"""The record of decisions: whole, durable, bounded, and in nobody's way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.governing import Guarded, guarding

from holdfast.errors import StorageError
from holdfast.server.access.principal import Principal
from holdfast.server.governing.auditing import Audit
from holdfast.server.governing.recording import Record, plain
from holdfast.server.parts import Heard
from holdfast.testing.clock import FakeClock
from holdfast.tools.keeping.memory import MemoryKeyValues
from holdfast.types import TenantId

DAY = "2026-01-01"


async def records(served: Guarded, key: str, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        mark = f"&after={after}" if after else ""
        status, page, _ = await served.ask("GET", f"/v1/audit?limit=7{query}{mark}", key=key)
        assert status == 200
        found += [each["record"] for each in page["records"]]
        if not (after := page["after"]):
            return found


@pytest.mark.requirement("server_access:audit")
async def test_each_decision_is_recorded_with_who_what_scope_verdict_code_client_and_request() -> None:
    clock = FakeClock()
    async with guarding(clock=clock) as served:
        admin, reader = await served.key(), await served.key(role="reader", user="bob")
        await served.ask("GET", "/v1/keys", key=admin, x_request_id="request-1")
        await served.ask("GET", "/v1/keys", key=reader, x_request_id="request-2")
        await served.ask("GET", "/v1/keys", x_request_id="request-3")
        await served.ask("GET", "/healthz", x_request_id="request-4")
        made = (await served.ask("POST", "/v1/keys", {"user": "eve", "role": "reader"}, key=admin))[1]
        await served.ask("POST", "/v1/auth/login", {"name": "nobody", "password": "wrong password"})
        await clock.advance(1)
        found = await records(served, admin)
        by_request = {each["request_id"]: each for each in found if "request_id" in each}
        allowed, missing, nobody = (by_request[f"request-{number}"] for number in (1, 2, 3))
        assert (allowed["verdict"], allowed["status"], allowed["user"], allowed["id"]) == (
            ("allowed", 200, "ada", admin.split("_")[1])
        )
        assert (allowed["method"], allowed["route"], allowed["scope"]) == ("GET", "/v1/keys", "admin")
        assert (missing["verdict"], missing["code"], missing["user"]) == ("refused", "scope_missing", "bob")
        assert (nobody["verdict"], nobody["code"], nobody["client"]) == ("refused", "unauthenticated", "127.0.0.1")
        assert "user" not in nobody and "request-4" not in by_request
        done = {each["route"]: each for each in found if not each["route"].startswith("/")}
        assert made["id"] in done["key.created"]["about"] and done["key.created"]["user"] == "ada"
        assert (done["login"]["about"], done["login"]["code"]) == ("nobody", "wrong_login")
        whole = str(found)
        assert made["key"] not in whole and admin not in whole and "wrong password" not in whole


@pytest.mark.requirement("server_access:audit-tenants")
async def test_admins_of_a_tenant_read_their_own_part_and_those_of_the_server_all_of_it() -> None:
    clock = FakeClock()
    async with guarding(clock=clock) as served:
        keys = {tenant: await served.key(tenant) for tenant in ("local", "acme", "evil")}
        for _ in range(5):
            for key in keys.values():
                await served.ask("GET", "/v1/keys", key=key)
            await clock.advance(1)
        own = await records(served, keys["acme"])
        assert len(own) == 5 and {each["tenant"] for each in own} == {"acme"}
        await clock.advance(1)
        assert {each["tenant"] for each in await records(served, keys["local"])} >= {"local", "acme", "evil"}
        assert {each["tenant"] for each in await records(served, keys["local"], "&tenant=evil")} == {"evil"}


@pytest.mark.requirement("server_access:audit-durable")
async def test_what_was_decided_is_on_the_disk_a_second_later_and_read_after_a_restart(tmp_path: Path) -> None:
    clock, url = FakeClock(), f"sqlite:///{tmp_path}/holdfast.db"
    async with guarding(clock=clock, url=url) as served:
        key = await served.key()
        await served.ask("GET", "/v1/keys", key=key, x_request_id="before")
        await clock.advance(1)
        writing = served.who.audit._writing
        assert writing is not None
        await writing
        async with guarding(clock=clock, url=url) as other:  # while the first is open, as after a kill
            assert "before" in {each.get("request_id") for each in await records(other, key)}
    async with guarding(clock=clock, url=url) as served:
        assert "before" in {each.get("request_id") for each in await records(served, key)}


WHO = Principal(tenant=TenantId("local"), user="ada", scopes=frozenset(), how="key")


def heard(number: int = 0, **more: Any) -> Heard:
    given: dict[str, Any] = {"method": "GET", "route": "/x", "status": 200, "seconds": 0.1, "scope": "admin", **more}
    given.setdefault("who", WHO)
    return Heard(request_id=f"r{number}", **given)


@pytest.mark.requirement("server_access:audit-bounded")
async def test_a_store_that_hangs_or_fails_holds_up_nobody_and_what_is_lost_is_counted() -> None:
    clock = FakeClock()
    values = MemoryKeyValues(clock)
    audit = Audit(values, clock)
    real, failing, go = values.set, True, asyncio.Event()

    async def failing_set(*given: Any, **named: Any) -> Any:
        if failing:
            await go.wait()
            raise StorageError("the disk is full: make room")
        return await real(*given, **named)

    values.set = failing_set  # type: ignore[method-assign]
    for number in range(25_000):
        audit.heard(heard(number))
    await clock.advance(2)
    assert audit.lost == 5_000
    go.set()
    await clock.advance(2)
    assert "disk is full" in audit.failure
    failing = False
    await clock.advance(2)
    assert audit._writing is not None
    await audit._writing
    assert audit.failure == ""
    found: list[Record] = []
    after = ""
    while True:
        page = await audit.read(None, DAY, after, 1000)
        found += page.records
        if not (after := page.after):
            break
    assert [each.request_id for each in found if each.request_id] == [f"r{number}" for number in range(20_000)]
    assert [each.about for each in found if each.route == "audit.lost"] == ["5000"]


@pytest.mark.requirement("server_access:audit-bounded")
async def test_days_that_are_too_old_go_as_a_whole() -> None:
    clock = FakeClock()
    audit = Audit(MemoryKeyValues(clock), clock, days=3)
    for number in range(6):
        audit.heard(heard(number))
        await audit.write()
        await clock.advance(86_400)
    assert await audit.days() == ["2026-01-03", "2026-01-04", "2026-01-05", "2026-01-06"]
    assert (await audit.read(None, "2026-01-02")).records == ()
    await audit.close()


@pytest.mark.requirement("server_access:audit-harmless")
async def test_hostile_text_is_recorded_as_text_that_does_nothing() -> None:
    clock = FakeClock()
    async with guarding(clock=clock, proxies=["127.0.0.1"]) as served:
        key = await served.key()
        bad = "\x1b[2J\u202e<script>"
        await served.ask("GET", "/v1/keys", key=key, x_forwarded_for="a" * 4000)
        await served.ask("POST", "/v1/auth/login", {"name": bad, "password": "x"})
        await clock.advance(1)
        found = str(await records(served, key))
        assert "\x1b" not in found and "\u202e" not in found and "a" * 65 not in found
        assert plain("a\nb\r\0c\ud800") == "a\ufffdb\ufffd\ufffdc\ufffd"
