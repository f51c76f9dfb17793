"""Keys: whose they are, how they end, and what nobody can do with one."""

from __future__ import annotations

import asyncio
import hmac
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.governing import guarding

from holdfast import Runtime
from holdfast.errors import UsageError
from holdfast.runtime.opening import open_values
from holdfast.server.access import credentials
from holdfast.server.access.keys.keeping import Keys
from holdfast.server.access.keys.key import Wish, parse_key
from holdfast.server.access.settings import AccessSettings
from holdfast.server.governing.opening import governed
from holdfast.server.problems import Refused
from holdfast.testing.clock import FakeClock
from holdfast.tools.keeping.memory import MemoryKeyValues
from holdfast.types import TenantId

WISH = Wish(tenant=TenantId("acme"), user="ada", role="writer")


@pytest.mark.requirement("server_access:keys-hashed")
async def test_what_is_written_of_a_key_is_shown_once_and_only_its_hash_is_kept() -> None:
    values = MemoryKeyValues(FakeClock())
    keys = Keys(values, FakeClock())
    key, text = await keys.create(WISH)
    assert text.startswith(f"hf_{key.id}_") and len(text) == 3 + 16 + 1 + 43
    secret = text.rpartition(key.id)[2][1:]
    assert secret not in str(values._places) and credentials.hash_of(secret) in str(values._places)
    who = await keys.recognise(text)
    assert who is not None and (who.tenant, who.user, who.how, who.id) == ("acme", "ada", "key", key.id)
    assert len({(await keys.create(WISH))[1] for _ in range(50)}) == 50


@pytest.mark.requirement("server_access:keys-constant-time")
async def test_a_secret_is_compared_in_constant_time_with_all_hashes_also_where_there_is_no_key() -> None:
    keys = Keys(MemoryKeyValues(FakeClock()), FakeClock())
    key, text = await keys.create(WISH)
    await keys.rotate(TenantId("acme"), key.id)
    compared: list[tuple[bytes, bytes]] = []

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    class Spying:
        compare_digest = staticmethod(spy)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(credentials, "hmac", Spying)
        assert await keys.recognise(text) is not None
        assert len(compared) == 2, "the one that matches does not end it"
        compared.clear()
        wrong = text[:-4] + ("aaaa" if text[-4:] != "aaaa" else "bbbb")
        assert await keys.recognise(wrong) is None
        assert len(compared) == 2
        compared.clear()
        assert await keys.recognise(f"hf_{'0' * 16}_{text[-43:]}") is None
        assert len(compared) == 1
    assert all(len(one) == len(other) == 64 for one, other in compared), "hashes, never the secrets"


@pytest.mark.requirement("server_access:keys-end")
async def test_a_key_expires_and_a_rotated_one_is_good_for_its_grace() -> None:
    clock = FakeClock()
    keys = Keys(MemoryKeyValues(clock), clock)
    wish = Wish(tenant=TenantId("acme"), user="ada", role="writer", expires_at=clock.now() + 3600 * 1_000_000)
    key, old = await keys.create(wish)
    rotated = await keys.rotate(wish.tenant, key.id, grace=60)
    assert rotated is not None
    new = rotated[1]
    assert new != old and new.startswith(f"hf_{key.id}_")
    assert await keys.recognise(old) is not None and await keys.recognise(new) is not None
    await clock.advance(59)
    assert await keys.recognise(old) is not None
    await clock.advance(1)
    assert await keys.recognise(old) is None and await keys.recognise(new) is not None
    at_once = await keys.rotate(wish.tenant, key.id, grace=0)
    assert at_once is not None and await keys.recognise(new) is None
    await clock.advance(3600)
    with pytest.raises(Refused) as refused:
        await keys.recognise(at_once[1])
    assert (refused.value.status, refused.value.code) == (401, "key_expired")
    for bad in (Wish(tenant=TenantId("a/b"), user="ada", role="admin"), Wish(tenant=TenantId("a"), user="")):
        with pytest.raises(UsageError):
            await keys.create(bad)


@pytest.mark.requirement("server_access:revoke-at-once")
async def test_a_key_is_revoked_at_once_here_and_within_a_second_in_every_other_process(tmp_path) -> None:
    clock = FakeClock()
    url = f"sqlite:///{tmp_path}/holdfast.db"
    async with Runtime.open(url) as one, Runtime.open(url) as two:
        here, there = Keys(open_values(one.journal, clock), clock), Keys(open_values(two.journal, clock), clock)
        key, text = await here.create(WISH)
        assert await here.recognise(text) is not None and await there.recognise(text) is not None
        await here.revoke(WISH.tenant, key.id)
        with pytest.raises(Refused, match="revoked"):
            await here.recognise(text)
        assert await there.recognise(text) is not None
        await clock.advance(1)
        with pytest.raises(Refused, match="revoked"):
            await there.recognise(text)


@pytest.mark.requirement("server_access:revoke-at-once")
async def test_a_key_that_is_being_looked_up_while_it_is_revoked_is_not_remembered() -> None:
    clock = FakeClock()
    values = MemoryKeyValues(clock)
    keys = Keys(values, clock)
    key, text = await keys.create(WISH)
    looking, go = asyncio.Event(), asyncio.Event()
    get = values.get

    async def slow(*place):
        found = await get(*place)
        if not looking.is_set():
            looking.set()
            await go.wait()
        return found

    values.get = slow  # type: ignore[method-assign]
    asked = asyncio.create_task(keys.recognise(text))
    await looking.wait()
    await keys.revoke(WISH.tenant, key.id)
    go.set()
    await asked
    with pytest.raises(Refused, match="revoked"):
        await keys.recognise(text)


@pytest.mark.requirement("server_access:keys-tenant")
async def test_nothing_that_one_tenant_does_reaches_the_keys_of_another() -> None:
    async with guarding() as served:
        acme, evil = await served.key("acme"), await served.key("evil")
        id_ = acme.split("_")[1]
        for method, path, body in (
            ("GET", f"/v1/keys/{id_}", None),
            ("DELETE", f"/v1/keys/{id_}", None),
            ("DELETE", f"/v1/keys/{id_}?forget=true", None),
            ("POST", f"/v1/keys/{id_}/rotate", {}),
        ):
            assert (await served.ask(method, path, body, key=evil))[0] == 404
            named = f"{path}{'&' if '?' in path else '?'}tenant=acme"
            assert (await served.ask(method, named, body, key=evil))[:2][0] == 403
        body = {"user": "eve", "role": "admin", "tenant": "acme"}
        assert (await served.ask("POST", "/v1/keys", body, key=evil))[0] == 403
        listed = (await served.ask("GET", "/v1/keys", key=evil))[1]["keys"]
        assert [each["tenant"] for each in listed] == ["evil"]
        assert (await served.ask("GET", "/v1/auth/users?tenant=acme", key=evil))[0] == 403
        assert (await served.ask("GET", "/v1/audit?tenant=acme", key=evil))[0] == 403
        assert (await served.ask("GET", "/v1/auth/me", key=acme))[1]["tenant"] == "acme"
        operator = await served.key("local")
        assert (await served.ask("POST", "/v1/keys", body, key=operator))[1]["tenant"] == "acme"


_TENANTS = ("a", "b", "a.b", "a:b", "A", "local")
_EDITS = st.tuples(st.integers(0, 62), st.sampled_from(string.ascii_letters + string.digits + "_-/.% \n\0é"))


@pytest.mark.requirement("server_access:keys-tenant")
@settings(max_examples=60, deadline=None)
@given(
    acts=st.lists(
        st.tuples(st.sampled_from(("create", "rotate", "revoke", "forget", "splice", "edit")), st.integers(0, 50)),
        max_size=12,
    ),
    edits=st.lists(_EDITS, max_size=4),
)
def test_a_key_of_one_tenant_never_speaks_for_another(
    acts: list[tuple[str, int]], edits: list[tuple[int, str]]
) -> None:
    async def go() -> None:
        clock = FakeClock()
        keys = Keys(MemoryKeyValues(clock), clock)
        made = [(TenantId(tenant), (await keys.create(_wish(tenant)))[1]) for tenant in _TENANTS]
        for act, at in acts:
            made += await _act(keys, act, made[at % len(made)], made[(at + 1) % len(made)], edits)
        for tenant, text in made:
            try:
                who = await keys.recognise(text)
            except Refused:
                continue
            assert who is None or (who.tenant == tenant and who.user == f"user of {tenant}")

    asyncio.run(go())


async def _act(
    keys: Keys, act: str, own: tuple[TenantId, str], foreign: tuple[TenantId, str], edits: list[tuple[int, str]]
) -> list[tuple[TenantId, str]]:
    """Does something with a key, and returns what could be one now, with whose it would have to be."""
    tenant, text = own
    parsed = parse_key(text)
    if act == "create":
        return [(tenant, (await keys.create(_wish(tenant)))[1])]
    if act == "edit":
        letters = list(text)
        for place, letter in edits:
            letters[place % len(letters)] = letter
        return [(tenant, "".join(letters))]
    if parsed is None:
        return []
    if act == "splice":  # the id of one, the secret of another
        return [(foreign[0], f"hf_{parsed[0]}_{foreign[1][-43:]}")]
    await _change(keys, act, foreign[0], parsed[0])  # in the name of another tenant, mostly
    changed = await _change(keys, act, tenant, parsed[0])
    return [] if changed is None else [(tenant, changed)]


def _wish(tenant: str) -> Wish:
    return Wish(tenant=TenantId(tenant), user=f"user of {tenant}", role="writer")


async def _change(keys: Keys, act: str, tenant: TenantId, id_: str) -> str | None:
    try:
        if act == "rotate":
            return None if (found := await keys.rotate(tenant, id_)) is None else found[1]
        await (keys.revoke if act == "revoke" else keys.forget)(tenant, id_)
    except Refused:
        pass
    return None


@pytest.mark.requirement("server_access:keys-used")
async def test_when_a_key_was_last_used_is_told_and_survives_the_process(tmp_path) -> None:
    clock = FakeClock()
    url = f"sqlite:///{tmp_path}/holdfast.db"
    async with guarding(clock=clock, url=url) as served:
        admin = await served.key()
        id_ = admin.split("_")[1]
        await clock.advance(5)
        seen = (await served.ask("GET", f"/v1/keys/{id_}", key=admin))[1]
        assert seen["last_used_at"] == "2026-01-01T00:00:05.000Z"
    async with guarding(clock=clock, url=url) as served:
        await clock.advance(30)
        other = await served.key()
        again = (await served.ask("GET", f"/v1/keys/{id_}", key=other))[1]
        assert again["last_used_at"] == seen["last_used_at"]


@pytest.mark.requirement("server_access:open-until-given")
async def test_a_server_is_open_to_its_machine_until_the_first_key_is_made() -> None:
    clock = FakeClock()
    async with guarding(AccessSettings(), clock=clock) as served:
        status, me, _ = await served.ask("GET", "/v1/auth/me")
        assert (status, me["how"], me["tenant"]) == (200, "local", "local")
        assert (await served.ask("GET", "/v1/keys", host="evil.example"))[0] == 403
        body = {"user": "ada", "role": "admin"}
        made = (await served.ask("POST", "/v1/keys", body))[1]
        assert (await served.ask("GET", "/v1/keys"))[0] == 401
        assert (await served.ask("GET", "/v1/keys", key=made["key"]))[0] == 200
        assert (await served.ask("GET", "/v1/keys", x_api_key=made["key"]))[0] == 200


@pytest.mark.requirement("server_access:strangers-bounded")
async def test_who_shows_wrong_keys_is_looked_up_no_more_and_keeps_nobody_out_who_is_at_work() -> None:
    clock = FakeClock()
    async with guarding(AccessSettings(required=True), clock=clock) as served:
        good = await served.key()
        assert (await served.ask("GET", "/v1/keys", key=good))[0] == 200
        for number in range(60):
            assert (await served.ask("GET", "/v1/keys", key=f"hf_{number:016x}_{'a' * 43}"))[0] == 401
        status, _, answer = await served.ask("GET", "/v1/keys", key=f"hf_{'f' * 16}_{'a' * 43}")
        assert (status, answer.headers["retry-after"]) == (429, "1")
        assert (await served.ask("GET", "/v1/keys", key=good))[0] == 200
        await clock.advance(1)
        assert (await served.ask("GET", "/v1/keys", key=f"hf_{'f' * 16}_{'a' * 43}"))[0] == 401


@pytest.mark.requirement("server_access:listed-tokens")
async def test_tokens_of_a_list_are_recognised_and_a_list_with_a_mistake_keeps_the_server_from_starting() -> None:
    token = "3f9c0c1d5c6b4a5e8f7a"
    tokens = f"ci:{token}:writer, {token[::-1]}:reader"
    async with guarding(AccessSettings(tokens=tokens)) as served:
        me = (await served.ask("GET", "/v1/auth/me", key=token))[1]
        assert (me["user"], me["tenant"], "sessions:write" in me["scopes"]) == ("ci", "local", True)
        assert (await served.ask("GET", "/v1/auth/me", key=token[::-1]))[1]["user"] == "token-2"
        assert (await served.ask("GET", "/v1/auth/me", key=token + "x"))[0] == 401
        assert (await served.ask("GET", "/v1/auth/me"))[0] == 401
    for bad in ("nonsense", f"ci:{token}:king", "ci:short:admin", ",", f"a:{token}:reader,b:{token}:admin", "a:b:c:d"):
        async with Runtime.open("memory:") as runtime:
            with pytest.raises(UsageError) as refused:
                async with governed(runtime, FakeClock(), AccessSettings(tokens=bad)):
                    pass
            assert token not in str(refused.value) and "short" not in str(refused.value)


@pytest.mark.requirement("server_access:keys-escalate-nothing")
async def test_a_key_that_may_ask_some_agents_makes_none_that_may_ask_others() -> None:
    async with guarding() as served:
        bound = await served.key(agents=("billing-*",))
        for agents, status in ((None, 403), (["*"], 403), (["support"], 403), (["billing-eu"], 201), ([], 201)):
            body = {"user": "bob", "role": "writer", "agents": agents}
            assert (await served.ask("POST", "/v1/keys", body, key=bound))[0] == status, agents


@pytest.mark.requirement("server_access:keys-many")
async def test_many_keys_are_listed_page_by_page_and_each_is_read_once_a_second_at_most() -> None:
    clock = FakeClock()
    values = MemoryKeyValues(clock)
    keys = Keys(values, clock)
    made = [await keys.create(WISH) for _ in range(300)]
    reads = 0
    get = values.get

    async def counted(*place):
        nonlocal reads
        reads += 1
        return await get(*place)

    values.get = counted  # type: ignore[method-assign]
    for _ in range(20):
        for _, text in made:
            assert await keys.recognise(text) is not None
    assert reads == 300
    found, after = await keys.listed(WISH.tenant, limit=200)
    rest, end = await keys.listed(WISH.tenant, after, limit=200)
    assert {each.id for each in (*found, *rest)} == {key.id for key, _ in made} and end == ""
