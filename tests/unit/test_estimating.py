"""Estimates of tokens that learn from the calls that were made."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.models.estimating import TokenEstimator

NUMBERS = st.integers(-(10**6), 10**12)
CALLS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=80)


@pytest.mark.requirement("catalogue:token-estimate")
@given(calls=CALLS, size=st.integers(1, 10**12))
def test_whatever_was_learned_an_estimate_is_between_one_and_the_bytes(calls: list[tuple[int, int]], size: int) -> None:
    estimator = TokenEstimator()
    for number, tokens in calls:
        estimator.learn("m", number, tokens)
    assert 1 <= estimator.estimate("m", size) <= size
    assert estimator.estimate("m", 0) == 0


@pytest.mark.requirement("catalogue:token-estimate")
@given(calls=CALLS, size=st.integers(1, 10**9), more=st.integers(0, 10**9))
def test_more_bytes_are_never_fewer_tokens(calls: list[tuple[int, int]], size: int, more: int) -> None:
    estimator = TokenEstimator()
    for number, tokens in calls:
        estimator.learn("m", number, tokens)
    assert estimator.estimate("m", size) <= estimator.estimate("m", size + more)


@pytest.mark.requirement("catalogue:token-estimate")
@given(rate=st.floats(0.02, 1.0), start=st.floats(0.02, 1.0), size=st.integers(10_000, 10**7))
def test_it_converges_on_a_steady_rate_whatever_was_before(rate: float, start: float, size: int) -> None:
    estimator = TokenEstimator()
    for _ in range(40):
        estimator.learn("m", 10_000, max(1, int(10_000 * start)))
    for _ in range(32):
        estimator.learn("m", size, max(1, int(size * rate)))
    assert size * rate * 0.99 - 2 <= estimator.estimate("m", size) <= size * rate * 1.01 + 2


@pytest.mark.requirement("catalogue:token-estimate")
@given(rates=st.lists(st.floats(0.15, 0.39), min_size=40, max_size=60))
def test_it_errs_on_the_side_of_too_many(rates: list[float]) -> None:
    estimator = TokenEstimator()
    for rate in rates:
        estimator.learn("m", 100_000, int(100_000 * rate))
    short = [rate for rate in rates[-32:] if estimator.estimate("m", 100_000) < int(100_000 * rate)]
    assert len(short) <= 8, "three quarters of the calls that are remembered had no more"


@pytest.mark.requirement("catalogue:token-estimate")
@given(
    rates=st.lists(st.floats(0.2, 0.3), min_size=40, max_size=40),
    strange=st.lists(st.tuples(st.integers(600, 10**9), st.integers(1, 10**9)), max_size=7),
)
def test_a_few_strange_calls_move_it_no_further_than_the_others_reach(
    rates: list[float], strange: list[tuple[int, int]]
) -> None:
    estimator = TokenEstimator()
    for rate in rates:
        estimator.learn("m", 100_000, int(100_000 * rate))
    for size, tokens in strange:
        estimator.learn("m", size, tokens)
    assert 0.199 <= estimator.rate("m") <= 0.301


@pytest.mark.requirement("catalogue:token-estimate")
def test_before_anything_is_learned_the_guess_is_cautious_and_models_do_not_mix() -> None:
    estimator = TokenEstimator()
    assert estimator.estimate("a", 1000) == 401
    for _ in range(20):
        estimator.learn("a", 10_000, 2500)
    assert estimator.estimate("a", 1000) == 251
    assert estimator.estimate("b", 1000) == 401
    estimator.forget("a")
    assert estimator.estimate("a", 1000) == 401


@pytest.mark.requirement("catalogue:token-estimate")
def test_calls_that_say_nothing_are_passed_over() -> None:
    estimator = TokenEstimator()
    for size, tokens in ((100, 90), (0, 5), (5000, 0), (-1, -1), (5000, -3)):
        estimator.learn("m", size, tokens)
    assert estimator.rate("m") == TokenEstimator().rate("m")


@pytest.mark.requirement("catalogue:token-estimate-bounded")
def test_so_many_models_and_calls_are_remembered_and_no_more() -> None:
    estimator = TokenEstimator(models=4)
    for each in range(50):
        for call in range(100):
            estimator.learn(f"m{each}", 10_000, 2000 + call)
    known = [each for each in range(50) if estimator.rate(f"m{each}") != 0.4]
    assert known == [46, 47, 48, 49], "those that were used last"
    seen = estimator._seen
    assert sum(len(each) for each in seen.values()) == 4 * 32


@pytest.mark.requirement("catalogue:token-estimate-bounded")
def test_threads_may_learn_and_ask_at_once() -> None:
    estimator = TokenEstimator(models=8)

    def work(number: int) -> None:
        for each in range(400):
            estimator.learn(f"m{(number + each) % 12}", 10_000, 2500)
            assert 2500 <= estimator.estimate(f"m{each % 12}", 10_000) <= 4001

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(4), timeout=20)) == [None] * 4
    finally:
        sys.setswitchinterval(before)
    assert len(estimator._seen) <= 8
