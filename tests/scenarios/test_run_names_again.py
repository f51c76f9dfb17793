"""A session that is begun again under the name of one that was deleted: what each of the two owes, gets and is."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from tests.running import MODEL, Scene, of, scene, soon, until

from holdfast import Agent, Effect, Limits, Runtime, ToolContext, tool
from holdfast.engine.events import AccountOpened, RunStarted, WaitResolved
from holdfast.engine.purse import key_of
from holdfast.errors import UsageError
from holdfast.journal.port import Head
from holdfast.ledger.amounts import Account, Amount, Cap
from holdfast.runtime.delivering.port import Delivery
from holdfast.runtime.run import RunResult
from holdfast.testing import Call, Turn
from holdfast.types import session_of, stream_id

USER = ("local", "user")
SESSION = ("local", "user", "s")
EACH = 120
"""Tokens that an answer of the scripted model uses."""
KEYS: list[str] = []
GATE: list[asyncio.Event] = []


@tool(effect=Effect(outside="keyed"), name="pay")
async def pay(context: ToolContext) -> str:
    """Pays."""
    KEYS.append(context.key)
    return "paid"


@tool(effect="none", name="wait")
async def wait() -> str:
    """Waits until it may go on."""
    GATE[0].set()
    await GATE[1].wait()
    return "over"


@tool(effect="none", name="stay")
async def stay() -> str:
    """Does not hear that it is to end."""
    GATE[0].set()
    while not GATE[1].is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await GATE[1].wait()
    return "over"


AGENT = Agent(MODEL, tools=[pay], max_output_tokens=50, limits=Limits(model_retries=0))
WAITING = Agent(MODEL, tools=[wait], max_output_tokens=50, limits=Limits(model_retries=0))
STUBBORN = Agent(MODEL, tools=[stay], max_output_tokens=50, limits=Limits(model_retries=0))
HELPER = Agent("openai/helper", name="helper", max_output_tokens=50)
LEADER = Agent("openai/leader", tools=[HELPER.as_tool("help")], name="leader", max_output_tokens=50)
HELP = Turn(calls=[Call("help", {"prompt": "x"}, id="call_0")])
STORES = pytest.mark.parametrize("store", ["memory:", "sqlite"])


@pytest.fixture(autouse=True)
def _fresh() -> None:
    KEYS.clear()
    GATE[:] = [asyncio.Event(), asyncio.Event()]


def url(store: str, folder: Path) -> str:
    return store if store == "memory:" else f"sqlite:///{folder}/s.db"


async def closed(s: Scene, name: str = "s") -> Head:
    """Returns the head of a session when nobody has it any more."""
    while True:
        head = await s.runtime.journal.head(stream_id("local", name))
        if head is not None and head.state == "idle" and head.owner is None and not head.unread:
            return head
        await asyncio.sleep(0)


async def ran(s: Scene, agent: Agent = AGENT, name: str = "s", **given: object) -> RunResult:
    """Returns what a run came to, once its books are closed."""
    result = await soon((await s.runtime.start(agent, "go", session=name, **given)).result())  # type: ignore[arg-type]
    await soon(closed(s, name))
    return result


@pytest.mark.requirement("names:cap-holds")
@STORES
async def test_a_cap_bounds_all_sessions_that_ever_had_a_name(tmp_path: Path, store: str) -> None:
    async with scene(["one"] * 20, url=url(store, tmp_path)) as s:
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=1_000)])
        results: list[RunResult] = []
        for _ in range(12):
            results.append(await ran(s))
            await s.runtime.delete("s")
        balance = await s.runtime.ledger.balance(USER)
    spent = sum(result.usage.total_tokens for result in results)
    assert (balance.settled.tokens, balance.open) == (spent, Amount())
    assert spent == EACH * len(s.server.requests) <= 1_000
    assert {result.status for result in results} == {"completed", "limited"}


@pytest.mark.requirement("names:cap-holds")
async def test_a_cap_bounds_branches_that_are_released_and_made_again(tmp_path: Path) -> None:
    async with scene(["one"] * 20, url=url("sqlite", tmp_path)) as s:
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=100_000)])
        await ran(s, name="base")
        for _ in range(3):
            names = await s.runtime.branches("base", 2, name="try")
            for name in names:
                await ran(s, name=name)
            await s.runtime.release(*names)
        balance = await s.runtime.ledger.balance(USER)
    assert (balance.settled.tokens, balance.open) == (7 * EACH, Amount())


@pytest.mark.requirement("names:nothing-waits-for-ever")
async def test_a_run_that_spends_more_than_the_one_that_had_its_name_has_a_grant_of_its_own(tmp_path: Path) -> None:
    turns = [*[Turn(calls=[Call("pay")])] * 10, "end"]
    async with scene({"scripted": ["one"], "two": turns}, url=url("sqlite", tmp_path)) as s:
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=1_000_000)])
        await ran(s)
        await s.runtime.delete("s")
        limits = Limits(identical_repeats=None)
        result = await ran(s, Agent("openai/two", tools=[pay], max_output_tokens=50, limits=limits))
        balance = await s.runtime.ledger.balance(USER)
    assert (result.status, result.steps) == ("completed", 11)
    assert (balance.settled.tokens, balance.open) == (12 * EACH, Amount())


@pytest.mark.requirement("names:cap-holds")
async def test_each_tree_of_a_name_has_its_own_limit_and_its_own_number_of_descendants() -> None:
    agent = Agent("openai/leader", tools=[HELPER.as_tool("help")], max_output_tokens=50)
    async with scene({"leader": [HELP, "A"], "helper": ["h"]}) as s:
        accounts: set[Account] = set()
        for _ in range(4):
            result = await ran(s, agent, limits=Limits(tokens=1_500, descendants=1))
            log = await s.log()
            assert (result.status, result.usage.total_tokens) == ("completed", 3 * EACH)
            assert [done.content for done in of(WaitResolved, log)] == ["h"]
            (opened,) = of(AccountOpened, log)
            accounts.add(opened.account)
            assert (await s.runtime.ledger.balance(opened.account)).settled.tokens == 3 * EACH
            await s.runtime.delete("s")
    assert len(accounts) == 4


@pytest.mark.requirement("names:session-accounts-begin-anew")
@STORES
async def test_the_cap_of_a_session_goes_with_it_and_its_user_stays_charged(tmp_path: Path, store: str) -> None:
    async with scene(["one"] * 5, url=url(store, tmp_path)) as s:
        ledger = s.runtime.ledger
        await ledger.set_caps(USER, [Cap(tokens=100_000)])
        told: list[list[str]] = []
        for _ in range(2):
            await ledger.set_caps(SESSION, [Cap(tokens=700)])
            told.append([(await ran(s)).status for _ in range(6)])
            assert (await ledger.balance(SESSION)).settled.tokens == told[0].count("completed") * EACH
            await s.runtime.delete("s")
            assert await ledger.caps(SESSION) == ()
            assert (await ledger.balance(SESSION)).settled == Amount()
        assert (await ledger.balance(USER)).settled.tokens == EACH * len(s.server.requests)
    assert told[0] == told[1]
    assert set(told[0]) == {"completed", "limited"}


@pytest.mark.requirement("names:session-accounts-begin-anew")
async def test_a_session_whose_children_still_draw_on_its_account_is_not_deleted_before_they_are_over() -> None:
    leader = Agent("openai/leader", tools=[STUBBORN.as_tool("help", seconds=0.05)], max_output_tokens=50)
    script = {"leader": [HELP, "end"], "scripted": [Turn(calls=[Call("stay")]), "late"]}
    async with scene(script) as s:
        run = await s.runtime.start(leader, "go", session="s", limits=Limits(tokens=9_000))
        await soon(GATE[0].wait())
        assert (await soon(run.result())).output == "end"
        await soon(closed(s))
        with pytest.raises(UsageError, match="runs that draw on account 'local/user/s' are open"):
            await s.runtime.delete("s")
        assert await s.log(), "it is as it was"
        GATE[1].set()
        (child,) = [session_of(head.stream) for head in await s.runtime.journal.heads("local") if "c-" in head.stream]
        await soon(closed(s, child))
        await soon(closed(s))  # it has read what its child came to
        await s.runtime.delete("s")
        balance = await s.runtime.ledger.balance(USER)
    assert (balance.settled.tokens, balance.open) == (3 * EACH, Amount())


@pytest.mark.requirement("names:keyed-effects-once")
async def test_the_same_call_of_two_sessions_of_a_name_has_two_keys(tmp_path: Path) -> None:
    turn = Turn(calls=[Call("pay", {}, id="call_0")])
    async with scene([turn, "a", turn, "b"], url=url("sqlite", tmp_path)) as s:
        ids: list[str] = []
        for _ in range(2):
            await ran(s)
            ids += [event.id for event in await s.log() if isinstance(event.data, RunStarted)]
            await s.runtime.delete("s")
    assert [f"local/s/{id}/3/call_0" for id in ids] == KEYS
    assert len(set(KEYS)) == 2


@pytest.mark.requirement("names:results-arrive")
async def test_results_of_two_sessions_of_a_name_both_arrive(tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with scene({"one": ["first"], "two": ["second"]}, url=url("sqlite", tmp_path)) as s:
        for model in ("one", "two"):
            await ran(s, Agent(f"openai/{model}"), deliver=[f"file:{out}"])
            assert await s.runtime.flush_deliveries() == []
            await s.runtime.delete("s")
    assert sorted(json.loads((each / "result.json").read_text())["output"] for each in out.iterdir()) == [
        "first",
        "second",
    ]


@pytest.mark.requirement("names:results-arrive")
async def test_what_was_to_be_delivered_of_a_deleted_session_is_not_the_result_of_the_next_of_its_name() -> None:
    taken: list[str] = []

    async def target(delivery: Delivery) -> None:
        if not taken and delivery.output == "first":
            raise ConnectionError("not now")
        taken.append(delivery.output)

    async with scene({"one": ["first"], "two": ["second"]}, targets={"t": target}) as s:
        await ran(s, Agent("openai/one"), deliver=["t"])
        (waits,) = await s.runtime.flush_deliveries()
        await s.runtime.delete("s")
        await ran(s, Agent("openai/two"))
        await until(lambda: bool(s.runtime._outgoing._deliverer.outbox.pending))
        pending = s.runtime._outgoing._deliverer.outbox.pending[waits.id]
        pending.retry_at = 0
        s.runtime._outgoing._deliverer.outbox._put(pending)
        (left,) = await s.runtime.flush_deliveries()
    assert taken == []
    assert (left.dead, left.id) == (True, waits.id)
    assert "was deleted" in left.error


@pytest.mark.requirement("names:nothing-waits-for-ever")
@STORES
async def test_children_of_two_sessions_of_a_name_each_answer_their_own_parent(tmp_path: Path, store: str) -> None:
    async with scene({"leader": [HELP, "A"], "helper": ["helped"]}, url=url(store, tmp_path)) as s:
        for number in range(3):
            assert (await ran(s, LEADER)).output == "A"
            assert [done.content for done in of(WaitResolved, await s.log())] == ["helped"]
            await s.runtime.delete("s")
            assert len(await s.runtime.journal.heads("local")) == number + 1, "each started a child of its own"


@pytest.mark.requirement("names:nothing-waits-for-ever")
async def test_a_name_that_goes_to_another_user_brings_them_no_grant_of_the_first(tmp_path: Path) -> None:
    async with scene(["one", "two"], url=url("sqlite", tmp_path)) as s:
        await s.runtime.ledger.set_caps(("local",), [Cap(tokens=1_000_000)])
        for user in ("alice", "bob"):
            assert (await ran(s, user=user)).status == "completed"
            await s.runtime.delete("s")
            assert (await s.runtime.ledger.balance(("local", user))).settled.tokens == EACH


@pytest.mark.requirement("names:settled-grants-end-runs")
async def test_a_grant_that_somebody_settled_is_no_leave_to_spend(tmp_path: Path) -> None:
    script = [Turn(calls=[Call("wait")]), "never"]
    async with scene(script, url=url("sqlite", tmp_path)) as s:
        await s.runtime.ledger.set_caps(USER, [Cap(tokens=10_000)])
        async with s.other() as gone:
            await gone.start(WAITING, "go", session="s")
            await soon(GATE[0].wait())
        key = key_of(stream_id("local", "s"), (await s.log())[1].id)
        await s.runtime.ledger.release(key)
        GATE[1].set()
        run = await s.runtime.resume("s", WAITING)
        with pytest.raises(UsageError, match=r"was settled while it was open.*abort the run"):
            await soon(run.result())
        assert len(s.server.requests) == 1
        await run.abort()
        again = await s.runtime.resume("s", WAITING)
        assert (await soon(again.result())).status == "aborted", "and the run can be ended"
        await soon(closed(s))
        await s.runtime.delete("s")


@pytest.mark.requirement("names:longest-names")
async def test_runs_under_a_cap_may_have_the_longest_names(tmp_path: Path) -> None:
    tenant, session = "t" * 128, "s" * 128
    leader = Agent("openai/leader", tools=[pay, HELPER.as_tool("help")], max_output_tokens=50)
    async with scene({"leader": [HELP, "done"], "helper": ["helped"]}, url=url("sqlite", tmp_path)) as s:
        async with Runtime.open(s.url, tenant=tenant) as runtime:
            await runtime.ledger.set_caps((tenant,), [Cap(tokens=100_000)])
            run = await runtime.start(leader, "go", session=session, user="u" * 128)
            assert (await soon(run.result())).status == "completed"
            await runtime.flush_deliveries()
        async with Runtime.open(s.url, tenant=tenant) as runtime:
            balance = await runtime.ledger.balance((tenant,))
    assert (balance.settled.tokens, balance.open) == (3 * EACH, Amount())
