"""An answer that a person has to approve: approved, refused, or done again, and whatever happens meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, all_answered, asked, of, paired, scene, seen, soon, until

from holdfast import Agent, Limits, tool
from holdfast.engine.events import ModelFinished, ReviewRequested, RunFinished, WaitResolved
from holdfast.errors import UnknownWait, UsageError
from holdfast.runtime.run import Run
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.types import Control, Price, stream_id

STREAM = stream_id("local", "s")


@tool(effect="none")
async def look() -> str:
    """Looks."""
    return "seen"


AGENT = Agent(MODEL, tools=[look])
URLS = pytest.mark.parametrize("url", ["memory:", "sqlite"])


def store(url: str, folder: Path) -> str:
    return url if url == "memory:" else f"sqlite:///{folder}/s.db"


async def asked_for(s: Scene, run: Run, times: int = 1) -> ReviewRequested:
    """Returns the last review that was asked for, once the run is parked."""
    await soon(seen(run, "review.requested", times))
    await until(lambda: s.runtime._worker.tail(STREAM) is None)
    return of(ReviewRequested, await s.log())[-1]


async def reviewed(s: Scene, changes: int = 1, **options: Any) -> tuple[Run, ReviewRequested]:
    """Returns a run whose answer is under review."""
    control = Control(review=changes, patience=options.pop("patience", None))
    run = await s.runtime.start(AGENT, "go", session="s", control=control, **options)
    return run, await asked_for(s, run)


@pytest.mark.requirement("engine:output-review")
@URLS
async def test_an_answer_that_a_person_approves_is_the_runs_and_nothing_is_held_meanwhile(
    url: str, tmp_path: Path
) -> None:
    async with scene(["fine words"], url=store(url, tmp_path)) as s:
        run, review = await reviewed(s)
        assert (review.wait.kind, review.wait.prompt, review.changes_left) == ("review", "fine words", 1)
        head = await s.runtime.journal.head(STREAM)
        assert head is not None
        assert (head.state, head.owner) == ("waiting", None)
        await run.approve(review.wait.token)
        result = await soon(run.result())
        assert (result.status, result.output, result.reason) == ("completed", "fine words", "")
        assert (await run.approve(review.wait.token)).status == "duplicate"
        assert len(of(RunFinished, await s.log())) == 1


@pytest.mark.requirement("engine:output-review")
@pytest.mark.parametrize(
    ("answer", "reason"),
    [("deny: too long", "review_denied: too long"), ("deny", "review_denied"), ("nonsense", "review_denied")],
)
async def test_whatever_is_no_clear_yes_to_an_answer_fails_the_run_and_the_reason_says_so(
    answer: str, reason: str
) -> None:
    async with scene(["fine words"]) as s:
        run, review = await reviewed(s)
        await run.answer(review.wait.token, answer)
        result = await soon(run.result())
    assert (result.status, result.reason, result.output) == ("failed", reason, "fine words")


@pytest.mark.requirement("engine:output-review")
@URLS
async def test_changes_are_done_with_the_feedback_as_often_as_was_agreed_and_all_of_it_is_counted(
    url: str, tmp_path: Path
) -> None:
    prices = {MODEL: Price.per_million(1, 1)}
    script = ["first", Turn(text="hm", calls=[Call("look")]), "second", "third"]
    async with scene(script, url=store(url, tmp_path), prices=prices) as s:
        run, review = await reviewed(s, 2)
        with pytest.raises(UsageError, match="say what is to be different"):
            await run.request_changes(review.wait.token, " ")
        with pytest.raises(UnknownWait):
            await run.request_changes("nobody", "shorter")
        await run.request_changes(review.wait.token, "shorter")
        review = await asked_for(s, run, 2)
        assert (review.wait.prompt, review.changes_left) == ("second", 1)
        await run.request_changes(review.wait.token, "shorter still")
        review = await asked_for(s, run, 3)
        assert review.changes_left == 0
        with pytest.raises(UsageError, match="no more changes"):
            await run.request_changes(review.wait.token, "once more")
        await run.approve(review.wait.token)
        result = await soon(run.result())
        log = await s.log()
        said = [message["content"] for message in asked(s.server)[-1] if message["role"] == "user"]
        assert all(paired(messages) for messages in asked(s.server))
    assert (result.status, result.output, result.steps) == ("completed", "third", 4)
    assert said[1:] == ["A reviewer asks for changes: shorter", "A reviewer asks for changes: shorter still"]
    assert result.usage.total_tokens == sum(each.message.usage.total_tokens for each in of(ModelFinished, log))
    assert result.cost == pytest.approx(sum(each.cost or 0 for each in of(ModelFinished, log)) / 1e9)
    assert all_answered(log)


@pytest.mark.requirement("engine:output-review")
async def test_changes_past_the_agreed_number_are_a_no_where_the_sender_was_not_asked() -> None:
    async with scene(["first"]) as s:
        run, review = await reviewed(s, 0)
        await run.answer(review.wait.token, "changes: more of it")
        assert (await soon(run.result())).reason == "review_denied: more of it"


@pytest.mark.requirement("engine:output-review")
async def test_the_limits_of_the_run_count_over_its_reviews() -> None:
    async with scene(["first", "second"]) as s:
        run, review = await reviewed(s, 5, limits=Limits(steps=2))
        await run.request_changes(review.wait.token, "again")
        review = await asked_for(s, run, 2)
        await run.request_changes(review.wait.token, "again")
        result = await soon(run.result())
    assert (result.status, result.reason, result.output) == ("limited", "steps", "second")


@pytest.mark.requirement("engine:output-review", "engine:gate-patience")
@URLS
async def test_an_answer_that_nobody_looks_at_in_time_is_not_approved(url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    async with scene(["first"], url=store(url, tmp_path), clock=clock) as s:
        run, _ = await reviewed(s, patience=60)
        await clock.advance(59)
        head = await s.runtime.journal.head(STREAM)
        assert head is not None
        assert head.state == "waiting"
        await clock.advance(2)
        result = await soon(run.result())
        assert [each.content for each in of(WaitResolved, await s.log())] == [None]
    assert (result.status, result.reason) == ("failed", "review_expired: nobody looked at the answer in time")


@pytest.mark.requirement("engine:output-review")
@pytest.mark.parametrize("kind", ["steer", "follow_up"])
async def test_what_is_said_during_a_review_is_answered_first_and_that_answer_is_reviewed(kind: str) -> None:
    async with scene(["first", "second"]) as s:
        run, review = await reviewed(s)
        await getattr(run, kind)("and tests?")
        second = await asked_for(s, run, 2)
        assert second.wait.token != review.wait.token
        await run.approve(review.wait.token)  # to what is not the answer any more
        await run.approve(second.wait.token)
        result = await soon(run.result())
        assert asked(s.server)[-1][-1]["content"] == "and tests?"
    assert (result.status, result.output) == ("completed", "second")


@pytest.mark.requirement("engine:output-review")
async def test_a_follow_up_that_comes_with_the_approval_is_answered_in_the_same_run() -> None:
    async with scene(["first", "second"]) as s:
        run, review = await reviewed(s)
        await s.runtime._worker.claims.claim(STREAM)  # nobody reads for a while
        await run.approve(review.wait.token)
        await run.follow_up("and now?")
        head = await s.runtime.journal.head(STREAM)
        assert head is not None
        await s.runtime.journal.release(STREAM, head.epoch)
        await s.runtime.resume("s", AGENT)
        review = await asked_for(s, run, 2)
        await run.approve(review.wait.token)
        assert (await soon(run.result())).output == "second"


@pytest.mark.requirement("engine:output-review")
@pytest.mark.parametrize("answered", [True, False])
async def test_a_review_outlives_its_process_and_nothing_is_asked_twice(answered: bool, tmp_path: Path) -> None:
    async with scene(["first", "second"], url=store("sqlite", tmp_path)) as s:
        run, review = await reviewed(s)
        await s.runtime.close()
        async with s.other() as other:
            if answered:
                await other.session("s").request_changes(review.wait.token, "again")
            again = await other.resume("s", AGENT)
            s.runtime = other
            if answered:
                review = await asked_for(s, again, 2)
            else:
                await until(lambda: other._worker.tail(STREAM) is None)
            await again.approve(review.wait.token)
            result = await soon(again.result())
            log = await s.log()
        assert len(s.server.requests) == 1 + answered
    assert (result.status, result.output, again.key) == ("completed", "second" if answered else "first", run.key)
    assert len(of(ReviewRequested, log)) == 1 + answered


@pytest.mark.requirement("engine:output-review")
async def test_an_abort_ends_a_review_and_a_prompt_that_waited_is_next() -> None:
    async with scene(["first", "second"]) as s:
        run, review = await reviewed(s)
        later = await s.runtime.start(AGENT, "next", session="s")
        await run.abort("never mind")
        assert (await soon(run.result())).status == "aborted"
        assert (await soon(later.result())).output == "second"
        await run.approve(review.wait.token)
        assert len(of(RunFinished, await s.log())) == 2


@pytest.mark.requirement("engine:output-review")
async def test_a_pause_during_a_review_holds_the_changes_back_until_it_is_over() -> None:
    async with scene(["first", "second"]) as s:
        run, review = await reviewed(s)
        await run.pause()
        await run.request_changes(review.wait.token, "again")
        await soon(seen(run, "wait.resolved"))
        await until(lambda: s.runtime._worker.tail(STREAM) is None)
        assert len(s.server.requests) == 1
        await run.resume()
        await run.approve((await asked_for(s, run, 2)).wait.token)
        assert (await soon(run.result())).output == "second"


@pytest.mark.requirement("engine:output-review")
async def test_a_last_answer_at_a_limit_is_not_reviewed_and_a_run_that_nobody_attends_cannot_be() -> None:
    again = Turn(calls=[Call("look")])
    async with scene([again, "I got half-way."]) as s:
        limits = Limits(steps=1, last_answer=True)
        run = await s.runtime.start(AGENT, "go", session="s", limits=limits, control=Control(review=1))
        assert (await soon(run.result())).status == "limited"
        assert of(ReviewRequested, await s.log()) == []
        with pytest.raises(UsageError, match="nobody can review"):
            await s.runtime.start(AGENT, "go", session="s", unattended=True, control=Control(review=1))


@pytest.mark.requirement("engine:output-review")
async def test_a_review_does_not_outlive_the_time_of_its_run() -> None:
    async with scene(["an answer"]) as s:
        run, _ = await reviewed(s, limits=Limits(seconds=0.3))
        result = await soon(run.result())
    assert (result.status, result.reason, result.output) == ("limited", "seconds", "an answer")
