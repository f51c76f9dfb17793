"""Amounts, and the rules of a window: whatever is granted when, no window ever holds more than its cap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.ledger.amounts import GRAINS, Amount, Cap
from holdfast.ledger.stores.tallies import Tally, Window, allowed, grain_of, held, settled, standings

NUMBERS = st.integers(0, 10**12)
AMOUNTS = st.builds(Amount, NUMBERS, NUMBERS, NUMBERS)
ANN = ("local", "ann")


@given(AMOUNTS, AMOUNTS)
def test_amounts_add_up_and_compare_dimension_by_dimension(one: Amount, two: Amount) -> None:
    both = one + two
    assert both.numbers == tuple(a + b for a, b in zip(one.numbers, two.numbers, strict=True))
    assert one.within(both)
    assert both.within(one) == (two == Amount())
    assert both.beyond(one) == two
    assert one.beyond(both) == Amount()
    assert one.smaller(two).within(one)
    assert one.within(one.larger(two))
    assert one.smaller(two) + one.larger(two) == both


def spend(tally: Tally, wanted: int, now: int) -> tuple[Tally, int]:
    """Grants and settles as much of an amount as fits at one moment."""
    given_, denied = allowed([(ANN, tally)], Amount(wanted), Amount(), now)
    assert denied is None
    return settled(held(tally, given_), given_, given_, now), given_.tokens


@pytest.mark.requirement("ledger:rolling-window-seven-days")
@given(
    st.sampled_from((1, 59, 60, 61, 1000, 604_800_000_000)),
    st.integers(0, 10**13),
    st.lists(st.tuples(st.integers(0, 150), st.integers(0, 70)), min_size=2, max_size=60),
)
def test_no_window_wherever_it_begins_holds_more_than_the_cap(
    length: int, start: int, turns: list[tuple[int, int]]
) -> None:
    tally = Tally(caps=(Cap(tokens=100, window=length),), windows=(Window(length),))
    now, spent = start, list[tuple[int, int]]()
    for hundredths, wanted in turns:
        now += length * hundredths // 100
        free = 100 - sum(tokens for at, tokens in spent if at > now - length - grain_of(length))
        tally, tokens = spend(tally, wanted, now)
        spent.append((now, tokens))
        inside = sum(tokens for at, tokens in spent if at > now - length)
        assert inside <= 100, "what was settled at t lies in every window that ends before t + length"
        assert tokens >= min(wanted, free), "and it is kept back for no longer than a grain"
        assert len(tally.windows[0].grains) <= GRAINS + 2, "what has left is dropped"


def test_what_is_settled_by_a_clock_that_was_set_back_counts_no_shorter() -> None:
    length = 600
    tally = Tally(caps=(Cap(tokens=100, window=length),), windows=(Window(length),))
    for at, tokens in ((10_000, 30), (9_700, 20), (9_699, 5), (10_005, 1)):
        tally, got = spend(tally, tokens, at)
        assert got == tokens
    assert tally.windows[0].grains == ((969, 5, 0, 0), (970, 20, 0, 0), (1000, 31, 0, 0))
    used = {
        now: next(iter(standings(tally, now))).used.tokens for now in (9_000, 10_298, 10_299, 10_309, 10_608, 10_609)
    }
    assert used == {9_000: 56, 10_298: 56, 10_299: 51, 10_309: 31, 10_608: 31, 10_609: 0}


def test_of_several_caps_the_one_that_is_in_the_way_longest_is_named() -> None:
    day = 86_400_000_000
    caps = (Cap(tokens=10, window=day), Cap(tokens=10, window=7 * day), Cap(cost=5, window=day))
    tally = Tally(caps=caps, windows=(Window(day), Window(7 * day)))
    tally = settled(held(tally, Amount(10, 5)), Amount(10, 5), Amount(10, 5), 0)
    _, denied = allowed([(ANN, tally)], Amount(1, 1), None, 1)
    assert denied is not None
    assert denied.cap == caps[1]
    forever = replace(tally, caps=(*caps, Cap(cost=5)))
    _, denied = allowed([(("local",), tally), (ANN, forever)], Amount(1, 1), None, 1)
    assert denied is not None
    assert (denied.cap, denied.account, denied.again_at) == (Cap(cost=5), ANN, None)
