"""What calls cost, and that a bound is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.models.catalogue import LongContextPrice, Tier, known_models, lookup
from holdfast.types import Price, Usage

RATES = st.integers(0, 10**11)
PRICES = st.builds(Price, RATES, RATES, RATES, RATES)
STARTS = st.lists(st.integers(0, 2000), max_size=4, unique=True).map(sorted)


@st.composite
def tiered(draw: st.DrawFn) -> Price:
    plain = draw(PRICES)
    tiers = tuple(Tier(start, draw(PRICES)) for start in draw(STARTS))
    fields = (plain.input, plain.output, plain.cache_read, plain.cache_write)
    return draw(st.sampled_from([plain, LongContextPrice(*fields, tiers, draw(st.integers(0, 10**8)))]))


@st.composite
def used(draw: st.DrawFn) -> Usage:
    fresh, read, write, output = (draw(st.integers(0, 900)) for _ in range(4))
    return Usage(fresh + read + write, output, read, write)


def by_hand(price: Price, usage: Usage) -> int:
    """Returns what a call costs, written down another way: in millionths of nanodollars, bucket by bucket."""
    rates, extra = price, 0
    if isinstance(price, LongContextPrice):
        extra = price.request
        reached = [tier for tier in price.tiers if usage.input_tokens > tier.above]
        rates = max(reached, key=lambda tier: tier.above).price if reached else price
    fresh = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
    buckets = [
        (fresh, rates.input),
        (usage.output_tokens, rates.output),
        (usage.cache_read_tokens, rates.cache_read),
        (usage.cache_write_tokens, rates.cache_write),
    ]
    whole, rest = divmod(sum(tokens * rate for tokens, rate in buckets), 10**6)
    return whole + (rest > 0) + extra


@pytest.mark.requirement("catalogue:bound-holds")
@given(price=tiered(), usage=used(), input_more=st.integers(0, 3000), output_more=st.integers(0, 900))
def test_no_usage_within_the_sizes_costs_more_than_the_bound(
    price: Price, usage: Usage, input_more: int, output_more: int
) -> None:
    bound = price.bound(usage.input_tokens + input_more, usage.output_tokens + output_more)
    assert price.cost(usage) <= bound


@pytest.mark.requirement("catalogue:bound-holds")
@given(price=tiered(), size=st.integers(0, 3000), output=st.integers(0, 900))
def test_a_bound_is_reached_by_some_usage_where_nothing_is_cached_for_more(
    price: Price, size: int, output: int
) -> None:
    def fill(each: Price, tokens: int) -> Usage:
        read, write = each.cache_read > max(each.input, each.cache_write), each.cache_write > each.input
        return Usage(tokens, output, tokens if read else 0, tokens if write and not read else 0)

    tiers = price.tiers if isinstance(price, LongContextPrice) else ()
    ends = [*(tier.above for tier in tiers), size]
    rates = [price, *(tier.price for tier in tiers)]
    most = max(price.cost(fill(each, min(size, end))) for each in rates for end in ends if end <= size)
    assert price.bound(size, output) == most


@pytest.mark.requirement("catalogue:price-tiers")
@given(price=tiered(), usage=used())
def test_a_call_costs_what_is_computed_by_hand_to_the_nanodollar(price: Price, usage: Usage) -> None:
    assert price.cost(usage) == by_hand(price, usage)


@pytest.mark.requirement("catalogue:price-tiers")
def test_each_of_several_tiers_holds_from_just_above_its_bound() -> None:
    card = lookup("openrouter/qwen/qwen3-coder-flash")
    assert card is not None
    price = card.price
    assert isinstance(price, LongContextPrice)
    assert [tier.above for tier in price.tiers] == [32_000, 128_000]
    for tokens, rates in ((32_000, price), (32_001, price.tiers[0].price), (128_001, price.tiers[1].price)):
        assert price.cost(Usage(tokens)) == -(-tokens * rates.input // 10**6)


@pytest.mark.requirement("catalogue:price-tiers")
def test_what_a_provider_takes_for_each_call_is_in_its_cost_and_its_bound() -> None:
    card = lookup("perplexity/sonar")
    assert card is not None
    assert card.price is not None
    assert card.price.cost(Usage(1000, 500)) == 1500 * 1000 + 12_000_000
    assert card.price.bound(1000, 500) == card.price.cost(Usage(1000, 500))


@pytest.mark.requirement("catalogue:bound-holds")
def test_the_bound_holds_for_every_price_of_the_catalogue() -> None:
    usages = [Usage(n, 700, n // 3, n // 2) for n in (0, 1, 99_999, 128_001, 200_001, 272_001, 900_000)]
    for name in known_models():
        card = lookup(name)
        assert card is not None
        for usage in usages if card.price else ():
            assert card.price is not None
            assert card.price.cost(usage) <= card.price.bound(usage.input_tokens, usage.output_tokens)


@pytest.mark.requirement("catalogue:price-changes")
@pytest.mark.parametrize(("day", "rate"), [("2026-11-30", 2), ("2026-12-01", 4), ("2030-01-01", 4)])
def test_an_announced_price_holds_from_its_day_on(day: str, rate: int) -> None:
    card = lookup("google/gemini-4-argon", day=day)
    assert card is not None
    assert card.price is not None
    assert card.price.input == rate * 10**9


@pytest.mark.requirement("catalogue:price-changes")
def test_a_price_that_depends_on_the_hour_is_the_dearest_and_says_so() -> None:
    card = lookup("deepseek/deepseek-reasoner")
    assert card is not None
    assert card.price is not None
    assert (card.by_hour, card.price.input, card.price.output) == (True, 550_000_000, 2_190_000_000)


@pytest.mark.requirement("catalogue:price-inexpressible")
@pytest.mark.parametrize(
    "name", ["perplexity/sonar-deep-research", "openrouter/perplexity/sonar-deep-research", "google/gemma-4-31b-it"]
)
def test_a_price_that_four_rates_do_not_say_is_unknown(name: str) -> None:
    card = lookup(name)
    assert card is None or card.price is None
