"""The outbox: results that reach their targets, once as far as the target allows, whatever happens to the process."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.loopback import Request, Server, answer, serving
from tests.running import MODEL, Wrapped, scene, seen, soon

from holdfast import Agent, Runtime
from holdfast.errors import DeliveryError, DeliveryRefused, NotDelivered, UsageError
from holdfast.journal.port import FeedItem
from holdfast.runtime.delivering.events import DeliveryDone, DeliveryStarted, Pending, RunEnded, RunExpected, book_named
from holdfast.runtime.delivering.outbox import ATTEMPTS, Outbox, delay_after, delivery_id
from holdfast.runtime.delivering.port import Delivery, Promise
from holdfast.runtime.delivering.targets.function import FunctionTarget
from holdfast.runtime.delivering.targets.webhook import WebhookTarget
from holdfast.testing import Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.faults import Hang
from holdfast.testing.scripts import Canned
from holdfast.types import Event, EventId, Payload, TenantId, stream_id

AGENT = Agent(MODEL)
STREAM = stream_id("local", "s")
BOOK = book_named(TenantId("local"), "outbox")
REFUSED = Turn(raw=Canned(status=400, body='{"error": {"message": "no"}}'))


class Target:
    """Keeps the ids it is handed; raises what it is told to, before or after that."""

    def __init__(self, *errors: Exception, late: bool = False) -> None:
        self.errors = list(errors)
        self.late = late
        self.taken: list[Delivery] = []
        self.tries = 0
        self.asked = 0

    async def __call__(self, delivery: Delivery) -> None:
        self.tries += 1
        if self.late:
            self.taken.append(delivery)
        if self.errors:
            raise self.errors.pop(0)
        if not self.late:
            self.taken.append(delivery)

    async def has(self, id: str) -> bool:
        self.asked += 1
        return any(each.id == id for each in self.taken)

    def promising(self, promise: Promise) -> FunctionTarget:
        return FunctionTarget(self, promise, delivered=self.has if promise == "checkable" else None, settles=2)


@pytest.mark.requirement("engine:delivery-apart-from-status", "runtime:delivery-targets")
async def test_a_result_reaches_a_folder_an_endpoint_and_a_function(tmp_path: Path) -> None:
    target = Target()
    async with serving() as server, scene([Turn(text="done")], targets={"fn": target, "web": _web(server)}) as s:
        run = await s.runtime.start(AGENT, "go", session="s", deliver=["fn", "web", f"file:{tmp_path}/out", "fn"])
        result = await soon(run.result())
        assert await s.runtime.flush_deliveries() == []
        began = (await s.log())[result.seq - 1].id
    (delivery,) = target.taken
    assert (delivery.session, delivery.run, delivery.status, delivery.output) == ("s", result.seq, "completed", "done")
    assert (delivery.usage, delivery.steps, delivery.error) == (result.usage, 1, "")
    (request,) = server.requests
    body = msgspec.json.decode(request.body)
    assert body["output"] == "done"
    assert request.headers["idempotency-key"] == body["id"] == delivery_id(STREAM, began, "web")
    (folder,) = (tmp_path / "out").iterdir()
    kept = msgspec.json.decode((folder / "result.json").read_bytes())
    assert kept["id"] == folder.name == delivery_id(STREAM, began, f"file:{tmp_path}/out")
    assert len({kept["id"], body["id"], delivery.id}) == 3


@pytest.mark.requirement("engine:delivery-apart-from-status")
async def test_an_error_is_delivered_too_and_a_target_that_fails_changes_no_status() -> None:
    good, bad = Target(), Target(*[ValueError("broken")] * 99)
    async with scene([REFUSED], targets={"good": good, "bad": bad}) as s:
        run = await s.runtime.start(AGENT, "go", session="s", deliver=["good", "bad"])
        result = await soon(run.result())
        (left,) = await s.runtime.flush_deliveries()
        assert (await s.kinds())[-1] == "run.finished"
    assert result.status == "failed"
    assert good.taken[0].status == "failed"
    assert good.taken[0].error == result.reason != ""
    assert (left.target, left.dead, left.attempts, left.error) == ("bad", False, 1, "ValueError: broken")


@pytest.mark.requirement("runtime:delivery-retries")
async def test_what_fails_is_tried_again_later_each_time_and_is_dead_in_the_end() -> None:
    target, clock = Target(*[DeliveryError("busy")] * 99), FakeClock()
    at: list[int] = []
    async with scene([Turn(text="done")], clock=clock, targets={"t": target}) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s", deliver=["t"])).result())
        while not (left := (await s.runtime.flush_deliveries())[0]).dead:
            at.append(clock.now())
            await clock.advance((left.retry_at - clock.now()) / 1e6 - 0.001)
            assert (await s.runtime.flush_deliveries())[0].attempts == left.attempts  # not before its time
            await clock.advance(0.002)
    waits = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert target.tries == left.attempts == ATTEMPTS
    assert waits == sorted(waits)
    assert waits[0] < 1_100_000
    assert waits[-1] >= 3_600_000_000
    assert (left.error, left.retry_at) == ("busy", 0)


@pytest.mark.requirement("runtime:delivery-promises")
@pytest.mark.parametrize(
    ("promise", "error", "late", "taken", "dead"),
    [
        ("keyed", DeliveryError("?"), True, 2, False),
        ("at-least-once", DeliveryError("?"), True, 2, False),
        ("at-least-once", DeliveryError("?"), False, 1, False),
        ("checkable", DeliveryError("?"), True, 1, False),
        ("checkable", DeliveryError("?"), False, 1, False),
        ("at-most-once", DeliveryError("?"), True, 1, True),
        ("at-most-once", DeliveryError("?"), False, 0, True),
        ("at-most-once", NotDelivered("nobody there"), False, 1, False),
        ("keyed", DeliveryRefused("never"), False, 0, True),
    ],
)
async def test_what_nobody_is_sure_of_is_judged_by_what_the_target_promises(
    promise: Promise, error: Exception, late: bool, taken: int, dead: bool
) -> None:
    target, clock = Target(error, late=late), FakeClock()
    async with scene([Turn(text="done")], clock=clock, targets={"t": target.promising(promise)}) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s", deliver=["t"])).result())
        for _ in range(5):
            await s.runtime.flush_deliveries()
            await clock.advance(1)
        left = await s.runtime.flush_deliveries()
    assert len(target.taken) == taken
    assert [each.dead for each in left] == [True] * dead
    assert len({each.id for each in target.taken}) <= 1


@pytest.mark.requirement("runtime:delivery-survives")
async def test_what_a_process_left_undone_is_done_by_the_next_one_under_the_same_id(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    target, begun = Target(), asyncio.Event()

    async def hangs(_delivery: Delivery) -> None:
        ids.append(_delivery.id)
        begun.set()
        await asyncio.Event().wait()

    ids: list[str] = []
    async with scene([Turn(text="done")], url=url, targets={"t": hangs}) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s", deliver=["t"])).result())
        await soon(begun.wait())
        await s.runtime._outgoing._deliverer.close(0)
        async with Runtime.open(url, targets={"t": target}) as other:
            assert await other.flush_deliveries() == []
            book = [each.type for each in await other.journal.read(BOOK)]
    assert [each.id for each in target.taken] == ids
    assert book.count(DeliveryStarted.type) == 2
    assert book.count(DeliveryDone.type) == 1


@pytest.mark.requirement("runtime:delivery-survives")
async def test_a_target_that_a_process_has_not_got_is_left_to_one_that_has_and_sweeps_find_it(tmp_path: Path) -> None:
    url, target = f"sqlite:///{tmp_path}/s.db", Target()
    async with scene([Turn(text="done")], url=url, targets={"t": target}) as s:
        run = await s.runtime.start(AGENT, "go", session="s", deliver=["t"], key="k")
        await s.runtime._worker.close()
        await s.runtime._outgoing._deliverer.close(0)
        async with s.other() as other:
            await other.resume("s", AGENT)
            await soon(other.run("s", "k").result())
            (left,) = await other.flush_deliveries()
            assert (left.target, left.attempts) == ("t", 0)
            assert await other.sweep() == 0
        async with Runtime.open(url, targets={"t": target}) as third:
            assert await third.flush_deliveries() == []
    assert len(target.taken) == 1
    assert run.session == "s"


@pytest.mark.requirement("runtime:delivery-fenced")
async def test_several_runtimes_on_one_store_deliver_each_result_once(tmp_path: Path) -> None:
    url, target = f"sqlite:///{tmp_path}/s.db", Target()
    async with (
        scene([Turn(text="done")], url=url, targets={"t": target}) as s,
        Runtime.open(url, targets={"t": target}) as b,
        Runtime.open(url, targets={"t": target}) as c,
    ):
        runs = [
            await each.start(AGENT, "go", session=f"s{number}", deliver=["t"])
            for number, each in enumerate((s.runtime, b, c) * 8)
        ]
        for run in runs:
            await soon(run.result())
        await soon(asyncio.gather(*(each.flush_deliveries() for each in (s.runtime, b, c))))
        assert await b.flush_deliveries() == []
    assert sorted(each.session for each in target.taken) == sorted(run.session for run in runs)


@pytest.mark.requirement("runtime:delivery-rebuilt")
async def test_an_outbox_that_is_built_anew_from_the_log_has_the_same_ids(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    target = Target()
    async with scene([Turn(text="done")], url=url, targets={"t": target}) as s:
        for name in ("s", "t"):
            run = await s.runtime.start(AGENT, "go", session=name, deliver=["t", f"file:{tmp_path}/out"])
            await soon(run.result())
        await s.runtime.flush_deliveries()
        claim = await s.runtime._worker.claims.claim(BOOK)
        await s.runtime.journal.delete(BOOK, claim.head.epoch)
        async with Runtime.open(url, targets={"t": target}) as other:
            assert await other.flush_deliveries() == []
    ids = [each.id for each in target.taken]
    assert len(ids) == 4
    assert sorted(ids[:2]) == sorted(ids[2:])
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.requirement("runtime:delivery-rebuilt")
async def test_a_run_that_was_read_from_a_file_is_not_delivered_again() -> None:
    target = Target()
    async with scene([Turn(text="done")], targets={"t": target}) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s", deliver=["t"])).result())
        file = b"".join([line async for line in s.runtime.export("s")])
        await s.runtime.load(io.BytesIO(file), name="copy")
        assert await s.runtime.flush_deliveries() == []
        await soon((await s.runtime.start(AGENT, "go on", session="copy", deliver=["t"])).result())
        assert await s.runtime.flush_deliveries() == []
    assert [each.session for each in target.taken] == ["s", "copy"]


@pytest.mark.requirement("runtime:delivery-of-every-end")
async def test_what_was_deleted_before_it_was_delivered_is_dead_and_says_why() -> None:
    target = Target(NotDelivered("later"))
    async with scene([Turn(text="done")], targets={"t": target}, clock=(clock := FakeClock())) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s", deliver=["t"])).result())
        await s.runtime.flush_deliveries()
        await s.runtime.delete("s")
        await clock.advance(5)
        (left,) = await s.runtime.flush_deliveries()
    assert left.dead
    assert "'s' was deleted" in left.error
    assert target.taken == []


@pytest.mark.requirement("runtime:delivery-costs-nothing")
async def test_a_runtime_without_targets_reads_no_feed_and_has_no_task() -> None:
    class Counting(Wrapped):
        feeds = 0

        async def feed(self, **arguments: Any) -> list[FeedItem]:
            Counting.feeds += 1
            return await self.inner.feed(**arguments)

    async with scene([Turn(text="done")], wrap=Counting) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        assert s.runtime._outgoing._deliverer._task is None
        assert await s.runtime.journal.head(BOOK) is None
    assert Counting.feeds == 0


@pytest.mark.requirement("engine:cancel-finalises")
@pytest.mark.parametrize("when", ["in the model", "before it ends", "in delivery"])
async def test_a_callers_cancel_keeps_nothing_from_being_completed(when: str) -> None:
    target = Target()
    slow = asyncio.Event()

    async def slowly(delivery: Delivery) -> None:
        begun.set()
        await slow.wait()
        await target(delivery)

    begun = asyncio.Event()
    script = [Turn(text="x", fault=Hang())] if when == "in the model" else [Turn(text="done")]
    async with scene(script, targets={"t": slowly}) as s:
        run = await s.runtime.start(AGENT, "go", session="s", deliver=["t"])

        async def caller() -> None:
            await run.result()
            await s.runtime.flush_deliveries()

        task = asyncio.create_task(caller())
        if when == "in the model":
            await soon(seen(run, "run.started"))
        elif when == "in delivery":
            await soon(begun.wait())
        else:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if when == "in the model":
            await run.abort("the caller left")
        slow.set()
        result = await soon(run.result())
        assert await s.runtime.flush_deliveries() == []
        assert (await s.kinds())[-1] == "run.finished"
    assert result.status == ("aborted" if when == "in the model" else "completed")
    assert [each.status for each in target.taken] == [result.status]


@pytest.mark.requirement("runtime:delivery-survives")
async def test_closing_a_runtime_right_after_a_result_still_delivers_it() -> None:
    target = Target()
    async with scene([Turn(text="done")], targets={"t": target}) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s", deliver=["t"])).result())
    assert len(target.taken) == 1


@pytest.mark.requirement("runtime:delivery-of-every-end")
async def test_a_prompt_that_never_ran_and_a_run_that_was_left_are_told_of() -> None:
    target = Target()
    async with scene([Turn(text="x", fault=Hang())], targets={"t": target}) as s:
        first = await s.runtime.start(AGENT, "go", session="s", deliver=["t"])
        second = await s.runtime.start(AGENT, "and then", session="s", deliver=["t"])
        await soon(seen(first, "run.started"))
        await s.runtime.session("s").exit("closing time")
        results = [await soon(each.result()) for each in (first, second)]
        assert await s.runtime.flush_deliveries() == []
    assert [each.status for each in results] == ["aborted", "aborted"]
    assert sorted(each.reason for each in target.taken) == sorted(each.reason for each in results)


@pytest.mark.requirement("runtime:delivery-targets")
@pytest.mark.parametrize(
    "name", ["slack", "file:", "webhook:", "webhook:ftp://x/", "webhook:http://u:p@x/", "hook:delivery", "t:x", ""]
)
async def test_a_name_that_is_no_target_is_refused_before_anything_happens(name: str) -> None:
    async with scene([Turn(text="done")], targets={"t": Target()}) as s:
        with pytest.raises(UsageError, match="there is no target"):
            await s.runtime.start(AGENT, "go", session="s", deliver=[name])
        with pytest.raises(UsageError, match="write a list"):
            await s.runtime.start(AGENT, "go", session="s", deliver="t")
        assert await s.runtime.journal.head(STREAM) is None


@pytest.mark.requirement("runtime:delivery-hidden")
async def test_the_book_is_in_no_list_of_sessions_and_nobody_takes_it_for_one(tmp_path: Path) -> None:
    target = Target(NotDelivered("later"))
    async with scene([Turn(text="done")], url=f"sqlite:///{tmp_path}/s.db", targets={"t": target}) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s", deliver=["t"])).result())
        await s.runtime.flush_deliveries()
        heads = await s.runtime.journal.heads("local")
        assert await s.runtime.sweep() == 0
        with pytest.raises(UsageError):
            await s.runtime.resume("~outbox")
    assert [each.stream for each in heads] == [STREAM]


@pytest.mark.requirement("runtime:delivery-webhook")
@pytest.mark.parametrize(
    ("statuses", "requests", "dead"),
    [((204,), 1, 0), ((500, 200), 2, 0), ((429, 202), 2, 0), ((400,), 1, 1), ((302,), 1, 1), ((503, 503, 200), 3, 0)],
)
async def test_an_endpoints_answer_decides_whether_it_is_asked_again(
    statuses: Sequence[int], requests: int, dead: int
) -> None:
    clock, given = FakeClock(), list(statuses)

    async def handle(_request: Request, writer: Any, _server: Server) -> None:
        writer.write(answer(b"", f"{given.pop(0)} X", "Location: http://127.0.0.1:1/\r\n"))

    async with serving(handle) as server, scene([Turn(text="d")], clock=clock, targets={"web": _web(server)}) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s", deliver=["web"])).result())
        for _ in range(3):
            await s.runtime.flush_deliveries()
            await clock.advance(3)
        left = await s.runtime.flush_deliveries()
    assert len(server.requests) == requests
    assert [each.dead for each in left] == [True] * dead
    assert len({each.headers["idempotency-key"] for each in server.requests}) == 1


def _web(server: Server) -> WebhookTarget:
    return WebhookTarget(f"{server.url}/hook", "keyed", headers={"Authorization": "Bearer secret"})


def test_a_book_that_is_summed_up_says_the_same() -> None:
    one, two = EventId("one"), EventId("two")
    told: list[Payload] = [
        RunExpected(STREAM, 2, one, ("a", "b")),
        RunEnded(STREAM, 2, one, 9),
        RunExpected(STREAM, 11, two, ("a",)),
    ]
    outbox, short = Outbox(), Outbox()
    for seq, data in enumerate((*told, DeliveryDone(delivery_id(STREAM, one, "a"))), 1):
        outbox.fold(_event(seq, data))
    short.fold(_event(5, outbox.sum()))
    outbox.seq, outbox.summed = 5, 5
    assert short == outbox
    assert list(short.pending.values()) == [Pending(delivery_id(STREAM, one, "b"), STREAM, 2, one, 9, "b")]
    assert [delay_after(number) for number in (1, 2, 3, 99)] == [1, 2, 4, 3600]
    assert delay_after(1, 30) == 30


def _event(seq: int, data: Payload) -> Event:
    return Event(seq=seq, id=EventId(str(seq)), type=data.type, at=0, epoch=1, data=data)


@pytest.mark.requirement("runtime:delivery-bounded-book")
async def test_a_long_book_is_summed_up_and_read_from_there() -> None:
    target = Target()
    async with scene([Turn(text="done")], targets={"t": target}, seconds=30) as s:
        for number in range(260):
            await soon((await s.runtime.start(AGENT, "go", session=f"s{number}", deliver=["t"])).result())
            await s.runtime.flush_deliveries()
        deliverer = s.runtime._outgoing._deliverer
        deliverer.forget()
        events = await deliverer.book_after(0)
        assert await s.runtime.flush_deliveries() == []
        head = await s.runtime.journal.head(BOOK)
    assert len(target.taken) == 260
    assert head is not None
    assert head.seq > 1_000
    assert len(events) < head.seq / 2
