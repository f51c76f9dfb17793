"""What comes after a failure, for each kind of failure at each place of a chain; and who is benched for how long."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UsageError
from holdfast.models.routing.chain import Candidate, Failover, Next, Tried, choose, kind_of, note, reasons
from holdfast.models.routing.health import Health
from holdfast.testing.clock import FakeClock

NOW = 1_000_000_000
SOON = NOW + 500_000
TRANSIENT = (
    "overloaded",
    "server_error",
    "timeout",
    "connection",
    "unreachable",
    "malformed",
    "model",
    "never heard of",
)
OTHER = ("model_not_found", "media_unsupported", "no_credit")
FINAL = ("auth", "invalid_request")
A, B, C = Candidate("p/a", 100_000), Candidate("p/b", 200_000), Candidate("q/c")
CHAIN = (A, B, C)


def failed(*codes: tuple[str, str] | tuple[str, str, int]) -> tuple[Tried, ...]:
    tried: tuple[Tried, ...] = ()
    for model, code, *at in codes:
        tried = note(tried, model, code, "why", at[0] if at else 0)
    return tried


def after(*codes: tuple[str, str] | tuple[str, str, int], policy: Failover | None = None) -> Next | None:
    return choose(CHAIN, failed(*codes), NOW, policy or Failover())


@pytest.mark.requirement("models:failover-matrix")
@pytest.mark.parametrize("code", TRANSIENT)
def test_what_may_pass_is_tried_once_more_and_then_the_next_one_is_asked(code: str) -> None:
    assert kind_of(code) == "transient"
    a, b, c = ("p/a", code), ("p/b", code), ("q/c", code)
    assert after() == Next("p/a")
    assert after(a) == Next("p/a", SOON)
    assert after(a, a) == Next("p/b")
    assert after(a, a, b) == Next("p/b", SOON)
    assert after(a, a, b, b) == Next("q/c")
    assert after(a, a, b, b, c) == Next("q/c", SOON)
    assert after(a, a, b, b, c, c) is None


@pytest.mark.requirement("models:failover-matrix")
@pytest.mark.parametrize("code", OTHER)
def test_a_model_that_is_not_there_is_passed_over_at_once(code: str) -> None:
    a, b, c = ("p/a", code), ("p/b", code), ("q/c", code)
    assert [after(a), after(a, b), after(a, b, c)] == [Next("p/b"), Next("q/c"), None]


@pytest.mark.requirement("models:failover-matrix")
@pytest.mark.requirement("models:failover-on-server-errors-only")
@pytest.mark.parametrize("code", FINAL)
def test_a_refused_request_ends_the_step_wherever_it_stands_unless_the_flag_says_otherwise(code: str) -> None:
    busy = ("overloaded",)
    before = ((), ((("p/a", *busy),) * 2), (("p/a", *busy), ("p/a", *busy), ("p/b", *busy), ("p/b", *busy)))
    for name, passed, coming in zip(("p/a", "p/b", "q/c"), before, ("p/b", "q/c", None), strict=True):
        assert after(*passed, (name, code)) is None
        on = after(*passed, (name, code), policy=Failover(advance=True))
        assert on == (None if coming is None else Next(coming))


@pytest.mark.requirement("models:failover-matrix")
def test_too_long_a_request_goes_on_to_a_window_that_is_known_to_be_larger() -> None:
    over = "context_overflow"
    assert after(("p/a", over)) == Next("p/b")
    assert after(("p/a", over), ("p/b", over)) is None  # nobody knows how much the third one holds
    assert choose((B, A), failed(("p/b", over)), NOW, Failover()) is None
    assert choose((C, A), failed(("q/c", over)), NOW, Failover()) == Next("p/a")


@pytest.mark.requirement("models:failover-matrix")
def test_a_chain_goes_on_instead_of_waiting_and_waits_only_where_nobody_else_is_left() -> None:
    late, later = NOW + 20_000_000, NOW + 30_000_000
    a, b, c = ("p/a", "rate_limit", late), ("p/b", "rate_limit", later), ("q/c", "rate_limit", later)
    assert after(a) == Next("p/b")
    assert after(a, b) == Next("q/c")
    assert after(a, b, c) == Next("p/a", late)
    assert after(a, b, c, ("p/a", "rate_limit", late)) == Next("p/b", later)
    assert after(a, ("p/b", "timeout"), ("p/b", "timeout"), ("q/c", "timeout"), ("q/c", "timeout")) == Next("p/a", late)
    far = NOW + 61_000_000
    assert after(("p/a", "rate_limit", far), ("p/b", "model_not_found"), ("q/c", "model_not_found")) is None
    assert after(("p/a", "rate_limit"), ("p/b", "model_not_found"), ("q/c", "model_not_found")) == Next("p/a", SOON)


@pytest.mark.requirement("models:failover-matrix")
def test_who_was_benched_by_the_failure_is_not_asked_again_and_who_is_benched_is_passed_over() -> None:
    def benched(*seconds: float) -> list[Candidate]:
        return [Candidate(each.name, benched=left) for each, left in zip(CHAIN, seconds, strict=True)]

    def of(*seconds: float, codes: tuple[tuple[str, str], ...] = ()) -> Next | None:
        return choose(benched(*seconds), failed(*codes), NOW, Failover())

    busy = ("p/a", "overloaded")
    assert of(30, 0, 0, codes=(busy,)) == Next("p/b")
    assert of(30, 30, 0) == Next("q/c")
    assert of(30, 20, 40) == Next("p/b")  # nobody else: whose time is over first
    assert of(30, 20, 40, codes=(("p/b", "overloaded"),)) == Next("p/a")
    assert of(math.inf, math.inf, 40) == Next("q/c")
    assert of(math.inf, math.inf, math.inf) is None


@pytest.mark.requirement("models:failover-matrix")
def test_who_wants_to_be_left_alone_since_another_run_asked_is_passed_over_and_else_waited_for() -> None:
    quiet = (Candidate("p/a", quiet=20), Candidate("p/b", quiet=5))
    assert choose((*quiet, C), (), NOW, Failover()) == Next("q/c")
    assert choose(quiet, (), NOW, Failover()) == Next("p/b", NOW + 5_000_000)


@pytest.mark.requirement("models:failover-matrix")
def test_after_words_of_an_answer_whoever_can_go_on_with_them_is_asked_at_once() -> None:
    able = (A, Candidate("p/b", continues=True), C)
    died = failed(("p/a", "connection"))
    assert choose(able, died, NOW, Failover(), visible=True) == Next("p/b")
    assert choose(able, died, NOW, Failover()) == Next("p/a", SOON)
    assert choose((A, B, Candidate("q/c", continues=True)), died, NOW, Failover(), visible=True) == Next("p/a", SOON)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("rate_limit", "context_overflow", *TRANSIENT[:3], *OTHER, *FINAL)),
            st.integers(0, 90),
            st.sampled_from((0.0, 0.0, 12.0, math.inf)),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.integers(1, 3),
    st.booleans(),
)
@pytest.mark.requirement("models:failover-matrix")
def test_a_step_always_ends_and_asks_nobody_more_often_than_it_may(
    happens: list[tuple[str, int, float, bool]], tries: int, advance: bool
) -> None:
    policy, tried, now, asked = Failover(tries=tries, advance=advance), (), NOW, list[str]()
    candidates: list[Candidate] = list(CHAIN)
    for code, wait, benched, visible in [*happens, *[("overloaded", 0, 0.0, False)] * 12]:
        coming = choose(candidates, tried, now, policy, visible=visible)
        if coming is None:
            break
        now = max(now, coming.at)
        asked.append(coming.model)
        tried = note(tried, coming.model, code, "why", now + wait * 1_000_000 if code == "rate_limit" else 0)
        candidates = [
            Candidate(each.name, each.window, benched if each.name == coming.model else each.benched)
            for each in candidates
        ]
    else:
        raise AssertionError(f"it never ends: {asked}")
    assert all(asked.count(each.name) <= tries for each in CHAIN)
    assert [each.model for each in sorted(tried, key=lambda each: each.model)] == sorted(set(asked))


@pytest.mark.requirement("models:failover-matrix")
def test_giving_up_tells_the_reason_of_each() -> None:
    tried = note(failed(("p/a", "overloaded"), ("p/a", "timeout")), "p/b", "auth", "'p/b': no key", 0)
    assert reasons(tried) == "no model of 2 answered: timeout: why; auth: 'p/b': no key"
    assert reasons(tried[1:]) == "auth: 'p/b': no key"


@pytest.mark.parametrize("bad", [{"tries": 0}, {"longest_wait": -1}, {"bench_seconds": math.nan}, {"bench_after": 0}])
def test_a_policy_without_sense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"Failover\\({next(iter(bad))}=.*makes no sense"):
        Failover(**bad)  # type: ignore[arg-type]


@pytest.mark.requirement("models:bench-grows-and-resets")
async def test_two_failures_in_a_row_bench_and_each_further_one_for_longer_up_to_a_bound() -> None:
    clock = FakeClock()
    health = Health(clock, seconds=30, most=100)
    assert not health.failed("p/a")
    assert health.left("p/a") == 0
    assert health.failed("p/a", "overloaded: no")
    assert health.left("p/a") == 30
    assert not health.failed("p/a")  # another run failed meanwhile: the same trouble
    assert health.left("p/a") == 30
    for seconds in (60, 100, 100):
        await clock.advance(health.left("p/a"))
        assert health.left("p/a") == 0
        assert health.failed("p/a")
        assert health.left("p/a") == seconds
    assert health.left("p/b") == 0


@pytest.mark.requirement("models:bench-grows-and-resets")
async def test_one_answer_and_everything_is_forgotten() -> None:
    clock = FakeClock()
    health = Health(clock)
    for _ in range(2):
        health.failed("p/a")
    await clock.advance(30)
    health.succeeded("p/a")
    assert not health.troubled
    assert not health.failed("p/a")
    assert health.failed("p/a")
    assert health.left("p/a") == 30  # as if for the first time


@pytest.mark.requirement("models:bench-grows-and-resets")
async def test_a_person_benches_and_takes_off_the_bench_and_can_look() -> None:
    clock = FakeClock()
    health = Health(clock)
    health.bench("p/a")
    health.bench("p/b", 5, "a test")
    assert {name: (each.left(clock.monotonic()), each.why) for name, each in health.snapshot().items()} == {
        "p/a": (math.inf, "by hand"),
        "p/b": (5, "a test"),
    }
    health.succeeded("p/a")  # somebody without a chain asked it
    await clock.advance(6)
    assert (health.left("p/a"), health.left("p/b")) == (math.inf, 0)
    health.unbench("p/a")
    assert health.left("p/a") == 0


def test_health_remembers_a_bounded_number_of_models() -> None:
    health = Health(FakeClock())
    for number in range(10_000):
        health.failed(f"p/{number}")
    assert len(health.troubled) == 4096
    assert "p/9999" in health.snapshot()
