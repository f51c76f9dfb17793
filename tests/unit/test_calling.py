"""The three steps of a model call: what it may use, what it says, what it cost."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UnknownPrice
from holdfast.models import calling
from holdfast.models.calling import Allowance, Exhausted, Reservation, reserve, settle
from holdfast.models.port import Model, ModelRequest
from holdfast.types import AssistantMessage, Delta, Price, Text, TextDelta, Usage

CHEAP = Price.per_million(1, 4, cache_read=0.1, cache_write=1.25)
REQUEST = ModelRequest(instructions="", messages=[])


class Paper(Model):
    """A model that is only what it says of itself."""

    def __init__(self, price: Price | None = CHEAP, size: int = 1000, cap: int | None = 2000) -> None:
        self._price, self._size, self._cap = price, size, cap
        self.asked: list[ModelRequest] = []

    def check(self) -> None: ...

    def fresh(self) -> Model:
        return self

    @property
    def name(self) -> str:
        return "paper/m"

    @property
    def price(self) -> Price | None:
        return self._price

    @property
    def max_output_tokens(self) -> int | None:
        return self._cap

    def size(self, request: ModelRequest) -> int:
        return self._size

    async def stream(self, request: ModelRequest) -> AsyncGenerator[list[Delta] | AssistantMessage, None]:
        self.asked.append(request)
        yield [TextDelta("hi")]
        yield AssistantMessage((Text("hi"),), "paper/m")


def held_for(model: Model, request: ModelRequest, allowance: Allowance) -> Reservation:
    held = reserve(model, request, allowance)
    assert isinstance(held, Reservation)
    return held


def test_without_limits_nothing_is_reserved_and_no_barrier_is_needed() -> None:
    assert reserve(Paper(), REQUEST, Allowance()) == Reservation()
    asked = msgspec.structs.replace(REQUEST, max_output_tokens=77)
    assert held_for(Paper(price=None), asked, Allowance()).max_output_tokens == 77


def test_what_is_reserved_is_the_size_of_the_request_and_the_longest_answer() -> None:
    held = held_for(Paper(), REQUEST, Allowance(tokens=100_000))
    assert held == Reservation(3000, CHEAP.bound(1000, 2000), 2000, binding=True)
    assert held.cost == 1000 * 1250 + 2000 * 4000, "input at its dearest: written to the cache"
    shorter = msgspec.structs.replace(REQUEST, max_output_tokens=50)
    assert held_for(Paper(), shorter, Allowance(tokens=100_000)).tokens == 1050
    assert held_for(Paper(cap=None), REQUEST, Allowance(tokens=10**6)).max_output_tokens == 4096
    assert held_for(Paper(cap=10**6), REQUEST, Allowance(tokens=10**6)).max_output_tokens == 32_000


def test_whoever_asks_for_a_very_short_answer_gets_one() -> None:
    short = msgspec.structs.replace(REQUEST, max_output_tokens=3)
    assert held_for(Paper(), short, Allowance(tokens=1003, cost=10**9)).max_output_tokens == 3
    assert reserve(Paper(), short, Allowance(tokens=1002)) == Exhausted("tokens", request=1000, answer=3, left=1002)


@pytest.mark.parametrize(
    ("left", "output"),
    [(Allowance(tokens=1500), 500), (Allowance(tokens=1016), 16), (Allowance(cost=1_250_000 + 400_000), 100)],
)
def test_near_the_cap_the_answer_may_be_as_long_as_what_is_left_pays_for(left: Allowance, output: int) -> None:
    held = reserve(Paper(), REQUEST, left)
    assert isinstance(held, Reservation)
    assert held.max_output_tokens == output


@pytest.mark.parametrize(
    ("left", "limit"),
    [
        (Allowance(tokens=1015), "tokens"),
        (Allowance(tokens=0), "tokens"),
        (Allowance(tokens=-5), "tokens"),
        (Allowance(cost=1_250_000 + 15 * 4000), "dollars"),
        (Allowance(cost=0), "dollars"),
        (Allowance(tokens=10**6, cost=10), "dollars"),
        (Allowance(tokens=10, cost=10**12), "tokens"),
    ],
)
def test_what_is_left_for_less_than_a_useful_answer_is_nothing(left: Allowance, limit: str) -> None:
    found = reserve(Paper(), REQUEST, left)
    assert isinstance(found, Exhausted)
    assert found.limit == limit


def test_a_model_whose_answers_are_free_is_held_by_its_input_alone() -> None:
    free = Paper(price=Price.per_million(1, 0))
    assert reserve(free, REQUEST, Allowance(cost=10**6)) == Reservation(3000, 10**6, 2000, binding=True)
    assert reserve(free, REQUEST, Allowance(cost=10**6 - 1)) == Exhausted(
        "dollars", request=10**6, answer=0, left=10**6 - 1
    )


@pytest.mark.requirement("engine:limit-dollars-price-unknown")
def test_dollars_cannot_be_kept_without_a_price_and_tokens_can() -> None:
    with pytest.raises(UnknownPrice, match=r"'paper/m'.*prices="):
        reserve(Paper(price=None), REQUEST, Allowance(cost=10**9))
    held = reserve(Paper(price=None), REQUEST, Allowance(tokens=10**6))
    assert held == Reservation(3000, None, 2000, binding=True)


@given(
    size=st.integers(0, 10**6),
    tokens=st.none() | st.integers(-10, 10**6),
    cost=st.none() | st.integers(-10, 10**10),
    wanted=st.none() | st.integers(1, 10**5),
    share=st.floats(0, 1),
)
def test_no_call_within_its_reservation_can_pass_what_was_left(
    size: int, tokens: int | None, cost: int | None, wanted: int | None, share: float
) -> None:
    model, request = Paper(size=size), msgspec.structs.replace(REQUEST, max_output_tokens=wanted)
    held = reserve(model, request, Allowance(tokens, cost))
    if isinstance(held, Exhausted):
        few = tokens is not None and tokens < size + 2000
        assert few or (cost is not None and cost < CHEAP.bound(size, 2000)), "there was plenty left"
        return
    assert tokens is None or held.tokens <= tokens
    assert cost is None or (held.cost is not None and held.cost <= cost)
    assert wanted is None or (held.max_output_tokens or 0) <= wanted
    read = int(size * share)
    usage = Usage(size, held.max_output_tokens or 0, read, size - read)
    settled = settle(model, held, usage)
    assert not settled.exceeded
    assert not held.binding or (settled.cost is not None and settled.cost <= (held.cost or 0))


def test_what_was_used_is_charged_in_full_and_more_than_was_reserved_is_told() -> None:
    model = Paper()
    held = reserve(model, REQUEST, Allowance(tokens=3000))
    assert isinstance(held, Reservation)
    settled = settle(model, held, Usage(1000, 2001))
    assert (settled.exceeded, settled.cost) == (True, CHEAP.cost(Usage(1000, 2001)))
    assert not settle(model, held, Usage(1000, 2000)).exceeded
    assert not settle(model, Reservation(), Usage(10**9, 10**9)).exceeded, "nothing was promised"
    assert settle(Paper(price=None), held, Usage(1, 1)).cost is None


@pytest.mark.requirement("models:calling-steps")
async def test_the_cap_that_was_reserved_is_the_cap_that_is_sent() -> None:
    model = Paper()
    held = reserve(model, REQUEST, Allowance(tokens=1500))
    assert isinstance(held, Reservation)
    items = [item async for item in calling.perform(model, REQUEST, held)]
    assert items[0] == [TextDelta("hi")]
    assert isinstance(items[-1], AssistantMessage)
    (asked,) = model.asked
    assert asked.max_output_tokens == 500
    [_ async for _ in calling.perform(model, REQUEST, Reservation())]
    assert model.asked[1] is REQUEST
