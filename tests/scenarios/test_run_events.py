"""Reading a run: live, later, late, slowly, twice, from elsewhere; nothing durable is missed or seen too early."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.running import MODEL, Scene, Wrapped, of, read_on, scene, seen, soon, text_of, until

from holdfast import Agent, tool
from holdfast.engine.events import CODEC, InputReceived, ModelFinished, ToolFinished
from holdfast.errors import NotOwnable
from holdfast.flow.broadcast import Broadcast
from holdfast.journal.owning import BLOB_BYTES
from holdfast.journal.port import Record
from holdfast.runtime.run import Run
from holdfast.testing import Call, Turn
from holdfast.testing.faults import Cut, Drip
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import BatchId, Event, Lagged, TextDelta, WorkerId, stream_id
from holdfast.types.events import Unknown

STREAM = stream_id("local", "s")
WORDS = "The quick brown fox jumps over the lazy dog."
GO: list[asyncio.Event] = []


@tool(effect="none")
async def echo(text: str) -> str:
    """Says the same."""
    return text


@tool(effect="none")
async def hold() -> str:
    """Waits until the test lets it."""
    await GO[0].wait()
    return "held"


AGENT = Agent(MODEL, tools=[echo, hold])
STEPS = [Turn("One.", calls=[Call("echo", {"text": "a"})]), Turn("Two.", calls=[Call("echo", {"text": "b"})]), WORDS]


@pytest.fixture(autouse=True)
def fresh() -> None:
    GO[:] = [asyncio.Event()]


async def collected(run: Run, after: int | None = None) -> list[Any]:
    return [item async for item in run.events(after)]


def durable(items: list[Any]) -> list[Event]:
    return [item for item in items if isinstance(item, Event)]


def store(kind: str, folder: Path) -> str:
    return "memory:" if kind == "memory" else f"sqlite:///{folder}/s.db"


@pytest.mark.requirement("runtime:events-live-and-replayed", "journal:follow-live-or-later")
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_live_and_replayed_from_any_number_are_the_same_events_without_a_gap(kind: str, tmp_path: Path) -> None:
    async with scene(STEPS, url=store(kind, tmp_path)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        early = asyncio.create_task(collected(run))
        from_three = asyncio.create_task(collected(run, after=3))
        live = durable(await soon(early))
        assert [event.seq for event in live] == list(range(1, len(live) + 1))
        assert durable(await soon(from_three)) == live[3:]
        for after in range(len(live) + 1):
            assert await soon(collected(run, after)) == live[after:]
        assert await soon(collected(run)) == live == await s.log()


@pytest.mark.requirement("journal:tail-partial-then-deltas")
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_reader_that_joins_in_mid_answer_gets_the_text_so_far_once_and_then_the_rest(
    kind: str, tmp_path: Path
) -> None:
    turn = Turn(WORDS, chunk=4, delay=0.03, fault=Drip(seconds=0.005))
    async with scene([turn], url=store(kind, tmp_path)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        late: list[asyncio.Task[tuple[str, list[Any]]]] = []

        async def join() -> tuple[str, list[Any]]:
            items = await collected(run)
            return "".join(item.text for item in items if isinstance(item, TextDelta)), items

        deltas = 0
        async for item in run.events():
            if isinstance(item, TextDelta):
                deltas += 1
                late.append(asyncio.create_task(join()))
        joined = await soon(asyncio.gather(*late))
    assert deltas > 5
    for text, items in joined[:-1]:
        assert text in (WORDS, ""), "all of it, or only the durable event, for whoever came at the very end"
        assert [event.seq for event in durable(items)] == [1, 2, 3, 4]
    assert joined[0][0] == WORDS
    first = next(item for item in joined[3][1] if isinstance(item, TextDelta))
    assert len(first.text) > 4, "what was said so far comes in one piece"


async def test_deltas_come_behind_the_events_that_led_to_them_however_late_those_are_durable(tmp_path: Path) -> None:
    class Slow(Wrapped):
        """A disk that takes as long as a whole answer."""

        def append(self, *args: Any, **options: Any) -> Any:
            async def later() -> Any:
                answer = await self.inner.append(*args, **options)
                await until(lambda: len(s.server.requests) > 0)
                for _ in range(200):
                    await asyncio.sleep(0)
                return answer

            return asyncio.ensure_future(later())

    async with scene(STEPS, wrap=Slow) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        kinds = [item.type for item in await soon(collected(run))]
    text = [number for number, kind in enumerate(kinds) if kind == "text.delta"]
    assert text
    assert kinds[: text[0]][:2] == ["input.received", "run.started"]
    for number in text:
        rest = [kind for kind in kinds[number:] if kind not in ("text.delta", "call.delta")]
        assert rest[0] == "model.finished", "and before the answer they are part of"


@pytest.mark.requirement("journal:append-published-after-acknowledged")
async def test_an_event_is_published_after_its_append_was_acknowledged_and_not_before() -> None:
    held: list[Callable[[], None]] = []

    class Held(Wrapped):
        def append(self, *args: Any, **options: Any) -> Any:
            written = self.inner.append(*args, **options)
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            held.append(lambda: answer.set_result(written.result()))
            return answer

    async with scene(["hi"], wrap=Held) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        shown: list[Any] = []

        async def watch() -> None:
            async for item in run.events():
                shown.append(item)  # noqa: PERF401 - one at a time is the point

        async def see(count: int) -> None:
            await until(lambda: len(durable(shown)) == count)

        reading = asyncio.create_task(watch())
        acknowledged = 0
        while not reading.done():
            await until(lambda: bool(held) or reading.done())
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(durable(shown)) == acknowledged
            if held:
                held.pop(0)()
                head = await s.runtime.journal.head(STREAM)
                assert head is not None
                acknowledged = head.seq
                await see(acknowledged)
        assert [event.seq for event in durable(shown)] == [1, 2, 3, 4]


@pytest.mark.requirement("journal:tail-lagged", "models:stream-slow-reader")
async def test_a_slow_reader_is_told_that_it_lagged_and_misses_nothing_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.journal.tail.Broadcast", partial(Broadcast, limit=8))

    def model(request: ScriptRequest) -> Turn:
        if request.answers < 20:
            return Turn("w" * 30, chunk=1, calls=[Call("echo", {"text": str(request.answers)})], delay=0.012)
        return Turn(WORDS, chunk=2, delay=0.03, fault=Drip(seconds=0.002))

    async with scene(model) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        quick = asyncio.create_task(collected(run))
        slow: list[Any] = []
        text = ""
        async for item in run.events():
            slow.append(item)
            text = read_on(text, item)
            assert (WORDS if len(of(ModelFinished, durable(slow))) == 20 else "w" * 30).startswith(text)
            if len(slow) % 7 == 0:
                await asyncio.sleep(0.01)  # a reader that has other things to do
        log = await s.log()
        fast = await soon(quick)
    lagged = [number for number, item in enumerate(slow) if isinstance(item, Lagged)]
    assert lagged, "the reader never fell behind: the test proves nothing"
    for number in lagged:
        before = durable(slow[:number])
        assert slow[number].after == (before[-1].seq if before else 0)
    assert durable(slow) == durable(fast) == log


@pytest.mark.requirement("flow:broadcast-subscriber-isolated")
async def test_readers_that_leave_or_stall_or_raise_do_not_disturb_the_run_or_one_another() -> None:
    async with scene([Turn(turn.text, calls=turn.calls) if isinstance(turn, Turn) else turn for turn in STEPS]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        stalled = run.events()
        await anext(stalled)

        async def raising() -> None:
            async for _ in run.events():
                raise ValueError("the reader's own trouble")

        readers = [asyncio.create_task(collected(run)) for _ in range(5)]
        broken = asyncio.create_task(raising())
        logs = await soon(asyncio.gather(*readers))
        with pytest.raises(ValueError, match="own trouble"):
            await broken
        assert all(durable(log) == durable(logs[0]) for log in logs)
        await stalled.aclose()  # type: ignore[attr-defined]
        assert (await soon(run.result())).output == WORDS


@pytest.mark.requirement("journal:follow-across-processes", "runtime:two-runtimes-one-database")
async def test_a_reader_elsewhere_sees_the_events_while_the_run_goes_on(tmp_path: Path) -> None:
    async with scene([Turn(calls=[Call("hold")]), WORDS], url=store("sqlite", tmp_path)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        async with s.other() as other:
            elsewhere = other.run("s", run.key)
            started = await soon(seen(elsewhere, "tool.started"))
            reading = asyncio.create_task(collected(elsewhere))
            GO[0].set()
            assert (await soon(run.result())).output == WORDS
            events = await soon(reading)
            assert events == await s.log()
            assert started in events


@pytest.mark.requirement("journal:linear-bytes")
async def test_the_bytes_of_a_run_grow_with_its_steps_and_not_with_their_square() -> None:
    def model(request: ScriptRequest) -> Turn | str:
        steps = int(request.first_user_text)
        return Turn("On.", calls=[Call("echo", {"text": str(request.answers)})]) if request.answers < steps else "done"

    sizes: dict[int, int] = {}
    async with scene(model) as s:
        for steps in (10, 150):
            await soon((await s.runtime.start(AGENT, str(steps), session=f"s{steps}")).result())
            records = await s.runtime.journal.read(stream_id("local", f"s{steps}"))
            sizes[steps] = sum(len(record.body) for record in records)
    assert sizes[150] < 16 * sizes[10]


@pytest.mark.requirement("journal:blob-over-32-kib")
async def test_large_prompts_answers_and_results_go_through_blobs_and_come_back_equal(tmp_path: Path) -> None:
    long = "wörd " * 10_000
    script = [Turn(long, calls=[Call("echo", {"text": long})], chunk=4096), Turn(long, chunk=4096)]
    async with scene(script, url=store("sqlite", tmp_path)) as s:
        run = await s.runtime.start(AGENT, long, session="s")
        text, result = await soon(text_of(run))
        assert (text, result.output) == ("", long)
        log = await s.log()
        assert await soon(collected(run)) == log
        records: list[Record] = await s.runtime.journal.read(STREAM)
        await s.runtime.close()
        async with s.other() as other:
            again = await Scene(s.server, other, s.url, s.clock).log()
    assert all(len(record.body) <= BLOB_BYTES for record in records)
    assert len([record for record in records if record.blob]) == 4
    assert again == log
    assert of(InputReceived, log)[0].message.text == long
    assert of(ToolFinished, log)[0].result.content == long
    sent = sum(len(record.body) for record in records)
    assert sent < 10_000, "an event holds a reference, and only what is new"


async def append(s: Scene, record: Record) -> None:
    """Writes what another version of the program might have written."""
    claim = await s.runtime.journal.claim(STREAM, WorkerId("another version"), 1_000_000)
    await s.runtime.journal.append(STREAM, claim.head.epoch, claim.head.seq, BatchId("x"), [record])
    await s.runtime.journal.release(STREAM, claim.head.epoch)


@pytest.mark.requirement("journal:unknown-event-kept")
async def test_an_event_nobody_knows_is_kept_byte_for_byte_shown_and_passed_over() -> None:
    body = b'{"seq":5,"id":"x","type":"moon.phase","at":5,"epoch":2,"data":{"phase": 0.25,"a":[1, {"b":null}]}}'
    async with scene(["one", "two"]) as s:
        await soon((await s.runtime.start(AGENT, "a", session="s")).result())
        await append(s, Record(5, "moon.phase", body))
        second = await s.runtime.start(AGENT, "b", session="s")
        assert (await soon(second.result())).output == "two"
        log = await s.log()
        assert isinstance(log[4].data, Unknown)
        assert CODEC.encode(log[4]) == body
        child = await s.runtime.fork("s", at=6)
        assert CODEC.encode((await s.log(child))[4]) == body
        assert [each["content"] for each in msgspec.json.decode(s.server.requests[1].body)["messages"]] == [
            "a",
            "one",
            "b",
        ]


@pytest.mark.requirement("journal:must-understand-not-owned")
async def test_an_event_that_must_be_understood_keeps_this_version_from_owning_but_not_from_showing(
    tmp_path: Path,
) -> None:
    body = b'{"seq":5,"id":"x","type":"law.changed","at":5,"epoch":2,"must_understand":true,"data":{"to":1}}'
    async with scene(["one", "two"], url=store("sqlite", tmp_path)) as s:
        first = await s.runtime.start(AGENT, "a", session="s")
        await soon(first.result())
        await append(s, Record(5, "law.changed", body))
        for refused in (s.runtime.resume("s"), s.runtime.start(AGENT, "b", session="s")):
            with pytest.raises(NotOwnable, match=r"event 5 .*'law\.changed'.*upgrade Holdfast.*runs show"):
                await refused
        head = await s.runtime.journal.head(STREAM)
        assert head is not None
        assert head.owner is None, "it was given up at once"
        assert CODEC.encode((await s.log())[4]) == body
        assert (await soon(first.result())).output == "one"
        assert len(s.server.requests) == 1
        show = [sys.executable, "-m", "holdfast", "runs", "show", "s", "--store", s.url]
        child = await asyncio.create_subprocess_exec(*show, stdout=asyncio.subprocess.PIPE)
        out, _ = await soon(child.communicate(), 10)
    assert child.returncode == 0
    assert b"law.changed" in out


async def test_a_run_that_is_cut_off_and_made_again_never_shows_text_twice_to_anybody(tmp_path: Path) -> None:
    turn = Turn(WORDS, chunk=4, delay=0.03, fault=Cut(after_events=6, times=1))
    async with scene([Turn(calls=[Call("hold", {})]), turn], url=store("sqlite", tmp_path)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        there: list[asyncio.Event] = [asyncio.Event() for _ in range(3)]

        async def reading(started: asyncio.Event) -> list[Any]:
            items = []
            async for item in run.events():
                items.append(item)
                started.set()
            return items

        readers = [asyncio.create_task(reading(each)) for each in there]
        await soon(asyncio.gather(*(each.wait() for each in there)))
        GO[0].set()
        await soon(run.result())
        for items in await soon(asyncio.gather(*readers)):
            kinds = [item.type for item in items]
            cut = kinds.index("reset")
            assert kinds.index("text.delta") < cut < kinds.index("model.failed")
            assert "".join(item.text for item in items[cut:] if isinstance(item, TextDelta)) == WORDS
