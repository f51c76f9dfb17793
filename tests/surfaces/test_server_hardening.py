"""What somebody tries who means no good: floods, races, names that are the server's, ways around a refusal."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.governing import PASSWORD, SETUP, guarding
from tests.running import asked, scene, soon, until
from tests.surfaces.commands import Shell
from tests.surfaces.listening import get, post
from tests.surfaces.test_server_frame_serve import served as serving_process
from tests.surfaces.test_server_sessions import AGENT, Held, house

from holdfast.cli.serve.configuring import load_config
from holdfast.engine.events import CODEC, RunStarted
from holdfast.errors import UsageError
from holdfast.flow.clock import SystemClock
from holdfast.journal.reading import read_events
from holdfast.runtime.delivering.targets.finding import Targets
from holdfast.runtime.delivering.targets.webhook import WebhookTarget
from holdfast.server.access.keys import keeping
from holdfast.server.access.keys.keeping import Keys
from holdfast.server.access.keys.key import Wish
from holdfast.server.access.settings import AccessSettings
from holdfast.server.access.users.keeping import Users
from holdfast.server.access.users.passwords import Passwords
from holdfast.server.problems import Refused
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.faults import Hang
from holdfast.tools.keeping.memory import MemoryKeyValues
from holdfast.types import TenantId, stream_id

ACME = TenantId("acme")


@pytest.mark.requirement("server_hardening:cookies")
@pytest.mark.parametrize("cookie", ['a="' + "\\" * 30_000 + '"', 'a="' + '\\"' * 15_000 + '"', "a=b;" * 7_500])
async def test_a_strange_cookie_holds_up_nobody(cookie: str) -> None:
    async with guarding() as served:
        began = time.process_time()
        assert (await served.ask("GET", "/v1/sessions", cookie=cookie))[0] == 401
        assert time.process_time() - began < 1  # reading it letter by letter for each letter takes several seconds


@pytest.mark.requirement("server_hardening:at-work")
async def test_who_is_at_work_is_let_in_however_much_their_address_shows() -> None:
    clock = FakeClock()
    async with guarding(clock=clock) as served:
        key, unused = await served.key(), await served.key()
        assert (await served.ask("GET", "/v1/sessions", key=key))[0] == 200
        for minutes in (0, 5, 50):
            await clock.advance(60 * minutes)
            said = [(await served.ask("GET", "/v1/sessions", key="hf_no"))[0] for _ in range(70)]
            assert said[-1] == 429
            assert (await served.ask("GET", "/v1/sessions", key=unused))[0] == 429
            assert (await served.ask("GET", "/v1/sessions", key=key))[0] == 200
        await served.who.keys.revoke(TenantId("local"), key.split("_")[1])
        assert (await served.ask("GET", "/v1/sessions", key=key))[0] == 401
        assert (await served.ask("GET", "/v1/sessions", key=key))[0] == 429


@pytest.mark.requirement("server_hardening:agents-admin")
async def test_an_admin_of_some_agents_gets_nothing_that_may_ask_others() -> None:
    async with guarding() as served:
        await served.who.users.add(TenantId("local"), "ann", "reader", PASSWORD)
        some, other = await served.key(agents=("helper*",)), await served.key()
        mine, theirs = some.split("_")[1], other.split("_")[1]
        tried: list[tuple[str, str, Any]] = [
            ("POST", f"/v1/keys/{theirs}/rotate", {}),
            ("POST", "/v1/keys", {"user": "eve"}),
            ("POST", "/v1/auth/users", {"name": "eve", "role": "admin", "password": PASSWORD}),
            ("PATCH", "/v1/auth/users/ann", {"role": "admin"}),
            ("POST", "/v1/auth/users/ann/reset-password", {}),
        ]
        for method, path, body in tried:
            status, told, _ = await served.ask(method, path, body, key=some)
            assert (status, told["code"]) == (403, "agents_missing"), path
            assert (await served.ask(method, path, body, key=other))[0] in (200, 201), path
        status, told, _ = await served.ask("POST", f"/v1/keys/{mine}/rotate", {}, key=some)
        assert (status, told["agents"]) == (200, ["helper*"])


@pytest.mark.requirement("server_hardening:small-logins")
@pytest.mark.parametrize("path", ["login", "setup", "change-password"])
async def test_a_large_body_of_a_stranger_is_not_read(path: str) -> None:
    async with guarding() as served:
        status, told, _ = await served.ask("POST", f"/v1/auth/{path}", {"name": "a" * 70_000})
        assert (status, told["code"]) == (413, "body_too_large")


@pytest.mark.requirement("server_hardening:admins-counted")
async def test_who_is_removed_while_made_an_admin_is_not_counted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    users = Users(MemoryKeyValues(SystemClock()), SystemClock(), Passwords())
    await users.add(ACME, "ada", "admin", PASSWORD)
    await users.add(ACME, "bob", "reader", PASSWORD)
    delete = MemoryKeyValues.delete

    async def interrupted(*given: Any, **named: Any) -> Any:
        monkeypatch.undo()
        await users.set_role(ACME, "bob", "admin")  # just before bob is gone
        return await delete(*given, **named)

    monkeypatch.setattr(MemoryKeyValues, "delete", interrupted)
    assert await users.remove(ACME, "bob")
    for change in (users.remove(ACME, "ada"), users.set_role(ACME, "ada", "reader")):
        with pytest.raises(Refused, match="last admin"):
            await change


@pytest.mark.requirement("server_hardening:keys-each")
async def test_a_tenant_with_all_its_keys_leaves_those_of_others_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_MOST_EACH", 3)
    keys = Keys(MemoryKeyValues(SystemClock()), SystemClock())
    for _ in range(3):
        await keys.create(Wish(tenant=ACME, user="ada", role="writer"))
    with pytest.raises(Refused, match="3 of these at most"):
        await keys.create(Wish(tenant=ACME, user="ada", role="writer"))
    _, text = await keys.create(Wish(tenant=TenantId("other"), user="bob", role="writer"))
    assert await keys.recognise(text) is not None


@pytest.mark.requirement("server_hardening:no-proxy")
async def test_a_server_without_keys_is_not_open_to_who_comes_through_a_proxy() -> None:
    async with house([]) as (_, served):
        for headers in (
            {"x-forwarded-for": "203.0.113.9"},
            {"x-forwarded-for": "127.0.0.1, 203.0.113.9"},
            {"x-forwarded-for": "hidden"},
            {"x-real-ip": "2001:db8::1"},
            {"forwarded": "for=203.0.113.9"},
        ):
            status, told = await get(served, "/sessions", headers=headers)
            assert (status, told["code"]) == (403, "foreign_client"), headers
        assert (await get(served, "/sessions", headers={"x-forwarded-for": "127.0.0.1"}))[0] == 200


@pytest.mark.requirement("server_hardening:own-keys")
async def test_nobody_uses_up_the_key_of_an_answer_that_is_to_come() -> None:
    async with house([Turn(calls=[Call("pay", {"to": "bob", "amount": 5})]), Turn(text="paid")], clerk=AGENT) as (
        _,
        served,
    ):
        await post(served, "/sessions", {"name": "s", "prompt": {"text": "pay", "mode": "ask", "key": "k"}})
        while not (waits := (await get(served, "/sessions/s/waits"))[1]["waits"]):
            pass
        token = waits[0]["token"]
        for path, body in (("pause", {}), ("steer", {"text": "go"}), ("prompts", {"text": "go"}), ("abort", {})):
            for key in (f"answer:{token}", f"told:{token}"):
                status, told = await post(served, f"/sessions/s/{path}", {**body, "key": key})
                assert (status, told["code"]) == (400, "bad_key"), path
        said = await post(served, f"/sessions/s/waits/{quote(token, safe='')}", {"decision": "approve"})
        assert said[0] == 202
        status, came = await get(served, "/sessions/s/runs/k?wait=20")
        assert (status, came["status"], came["output"]) == (200, "completed", "paid")


@pytest.mark.requirement("server_hardening:one-maker")
async def test_of_many_that_make_a_session_of_one_name_at_once_one_does() -> None:
    async with house([Turn(text=f"{number}") for number in range(20)], clerk=AGENT) as (_, served):
        wishes = [{"name": "n", "prompt": {"text": f"hello {number}"}} for number in range(8)]
        said = await asyncio.gather(*(post(served, "/sessions", each) for each in wishes))
        assert sorted(status for status, _ in said) == [201] + [409] * 7
        assert {told["code"] for status, told in said if status == 409} == {"session_exists"}
        again = {"name": "m", "prompt": {"text": "hello", "key": "k"}}
        said = await asyncio.gather(*(post(served, "/sessions", again) for _ in range(8)))
        assert sorted(status for status, _ in said) == [200] * 7 + [201]


@pytest.mark.requirement("server_hardening:no-hosts")
async def test_who_is_at_work_in_a_session_is_not_told_by_host_or_process() -> None:
    model = Held()
    async with house(model) as (s, served):
        await post(served, "/sessions", {"name": "s", "prompt": {"text": "x"}})
        await model.asked.wait()
        head = await s.runtime.journal.head(stream_id("local", "s"))
        assert head is not None and head.owner
        status, told = await post(served, "/sessions/s/rewind", {"to": 1})
        assert (status, told["code"]) == (409, "lease_held")
        assert not any(part in str(told) for part in (head.owner, head.owner.split(":")[1], "epoch"))
        model.go.set()


SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNk"


@pytest.mark.requirement("server_hardening:signed-webhooks")
async def test_secrets_for_webhooks_come_from_the_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(f"webhook_secrets: [{SECRET}]\n")
    assert load_config(file).webhook_secrets == (SECRET,)
    monkeypatch.setenv("HOLDFAST_WEBHOOK_SECRETS", f"{SECRET}, {SECRET}")
    assert load_config(None).webhook_secrets == (SECRET, SECRET)
    monkeypatch.setenv("HOLDFAST_WEBHOOK_SECRETS", "guess-me")
    with pytest.raises(UsageError) as told:
        load_config(None)
    assert "guess-me" not in str(told.value)


@pytest.mark.requirement("server_hardening:signed-webhooks")
def test_a_server_with_secrets_tells_a_tenant_what_its_webhooks_are_signed_with(tmp_path: Path) -> None:
    (tmp_path / "serve.yaml").write_text(f"webhook_secrets: [{SECRET}]\n")
    with serving_process(Shell(tmp_path), "--config", "serve.yaml") as server:
        (own,) = server.ask("GET", "/v1/webhook-secrets")["secrets"]
        assert own.startswith("whsec_") and own != SECRET
        server.end()


@pytest.mark.requirement("server_hardening:strangers-counted")
async def test_what_strangers_are_refused_fills_no_record_and_is_counted() -> None:
    clock = FakeClock()
    async with guarding(clock=clock) as served:
        admin = await served.key()
        for _ in range(100):
            assert (await served.ask("GET", "/v1/sessions"))[0] == 401
            assert (await served.ask("OPTIONS", "/v1/sessions"))[0] == 204
        await clock.advance(1)
        found = (await served.ask("GET", "/v1/audit?limit=500", key=admin))[1]["records"]
        strange = [each["record"] for each in found if not each["record"].get("user")]
        written = [each for each in strange if each.get("code") == "unauthenticated"]
        (counted,) = [each for each in strange if each["route"] == "audit.strangers"]
        assert 1 <= len(written) <= 40
        assert len(written) + int(counted["about"]) == 100
        assert not [each for each in strange if each["verdict"] == "allowed"]


@pytest.mark.requirement("server_hardening:strangers-rated")
async def test_strangers_who_show_nothing_have_a_rate_too() -> None:
    settings = AccessSettings(required=True, setup_token=SETUP, strangers=2.0)
    async with guarding(settings) as served:
        await served.key()
        said = {(await served.ask("GET", "/v1/sessions"))[0] for _ in range(40)}
        assert said == {401, 429}


@pytest.mark.requirement("server_hardening:figures-of-all")
async def test_figures_of_all_tenants_are_shown_to_the_first_one_alone() -> None:
    async with guarding() as served:
        status, told, _ = await served.ask("GET", "/metrics", key=await served.key("acme"))
        assert (status, told["code"]) == (403, "foreign_tenant")


@pytest.mark.requirement("server_hardening:same-name")
async def test_users_of_one_name_in_two_tenants_take_turns_as_two() -> None:
    async with scene(["ok"], at_once=1, seconds=30) as s:
        s.runtime.resize(0)
        other = s.runtime.acting_for(tenant="acme", user="ci")
        runs = [await s.runtime.start(AGENT, "ours", session=f"a{n}", user="ci") for n in range(20)]
        runs.append(await other.start(AGENT, "theirs", session="b"))
        assert s.runtime.stats().queued_by_user == {"ci": 20, "acme/ci": 1}
        s.runtime.resize(1)
        for run in runs:
            await soon(run.result(), 12)
        order = [request[-1]["content"] for request in asked(s.server)]
    assert order.index("theirs") <= 1


@pytest.mark.requirement("server_hardening:who-proceeds-pays")
async def test_who_lets_a_run_go_on_pays_for_it() -> None:
    async with scene([Turn(text="one", fault=Hang(after_events=1, times=1)), Turn(text="two")]) as s:
        ann = s.runtime.acting_for(tenant="acme", user="ann")
        run = await ann.start(AGENT, "go", session="s")
        await until(lambda: bool(asked(s.server)))
        await run.abort()
        await soon(run.result())
        bob = s.runtime.acting_for(tenant="acme", user="bob")
        assert (await soon((await bob.proceed("s", user="bob")).result())).output
        events = [event async for event in read_events(s.runtime.journal, stream_id("acme", "s"), CODEC)]
        assert [each.data.setup.user for each in events if isinstance(each.data, RunStarted)] == ["ann", "bob"]


@pytest.mark.requirement("server_hardening:one-client")
async def test_a_thousand_endpoints_have_one_set_of_connections() -> None:
    targets = Targets({}, None)
    found = [targets.find(f"webhook:https://h{number}.example/hook") for number in range(1000)]
    clients = {id(each._client) for each in found if isinstance(each, WebhookTarget)}
    assert len(clients) == 1
    await targets.close()
