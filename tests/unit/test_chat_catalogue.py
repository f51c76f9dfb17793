"""What is known of models, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import Agent
from holdfast.errors import UnknownModel
from holdfast.models.calling import Reservation, settle
from holdfast.models.catalogue import lookup
from holdfast.models.providers.finding import find_model
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.types import Price, Usage


@pytest.mark.requirement("models:price-known")
def test_a_known_price_costs_the_sum_over_the_four_kinds_of_tokens() -> None:
    card = lookup("openai/gpt-6.1-sol")
    assert card is not None
    assert card.price is not None
    # $2 fresh, $10 output, $0.10 cached, $2.50 written to the cache, each per million
    assert card.price.cost(Usage(1000, 100, 600, 100)) == 300 * 2000 + 100 * 10_000 + 600 * 100 + 100 * 2500
    assert card.context_window == 1_050_000


@pytest.mark.requirement("models:price-long-context")
def test_a_call_over_the_long_context_bound_costs_the_long_price_as_a_whole() -> None:
    card = lookup("openai/gpt-5.4")
    assert card is not None
    assert card.price is not None
    assert card.price.cost(Usage(272_000, 0)) == 272_000 * 2500
    assert card.price.cost(Usage(272_001, 10)) == 272_001 * 5000 + 10 * 22_500
    assert card.price.bound(272_001, 10) == card.price.cost(Usage(272_001, 10))
    assert card.price.bound(10, 10) == card.price.cost(Usage(10, 10))


@pytest.mark.parametrize(("name", "known"), [("gpt-6-sol-2031-01-02", True), ("gpt-4o-2031-01-02", False)])
def test_an_unknown_date_is_known_only_where_dates_cost_the_same(name: str, known: bool) -> None:
    assert (lookup(f"openai/{name}") is not None) is known


@pytest.mark.requirement("models:price-unknown")
@pytest.mark.parametrize("name", ["openai/qwen3", "openai/gpt-4o-", "gpt-4o", "other/gpt-4o", ""])
def test_nobody_knows_the_price_of_an_unknown_model(name: str) -> None:
    assert lookup(name) is None


@pytest.mark.requirement("models:price-unknown")
def test_a_call_of_unknown_price_has_an_unknown_cost() -> None:
    model = find_model("openai/qwen3", HttpClient(TRUSTED), {})
    assert model.price is None
    assert settle(model, Reservation(), Usage(10, 10)).cost is None


def test_a_given_price_goes_before_the_catalogues_and_describes_unknown_models() -> None:
    price = Price.per_million(1, 2)
    for name in ("openai/gpt-4o", "openai/mine"):
        card = lookup(name, {name: price})
        assert card is not None
        assert card.price == price
    assert lookup("openai/gpt-4o", {"openai/mine": price}) == lookup("openai/gpt-4o")


@pytest.mark.requirement("models:unknown-model")
@pytest.mark.parametrize(
    ("spec", "written"),
    [
        ("gpt-4o", "openai/gpt-4o"),
        ("openai/", "openai/<model>"),
        ("openai", "openai/openai"),
        ("/gpt-4o", "openai/gpt-4o"),
        ("/", "openai/<model>"),
        ("", "openai/<model>"),
    ],
)
def test_a_name_without_provider_or_model_is_refused_with_how_to_write_it(spec: str, written: str) -> None:
    named = [lambda: Agent(spec)] if "/" in spec or not spec else []  # a bare name may be an alias
    for asking in (lambda: find_model(spec, HttpClient(TRUSTED), {}), *named):
        with pytest.raises(UnknownModel, match=f"write '{written}'") as caught:
            asking()
        assert repr(spec) in str(caught.value)


@pytest.mark.requirement("models:unknown-model")
@pytest.mark.parametrize("spec", ["opanai/gpt-4o", "antropic/claude-sonnet-4-5", "OpenAI/gpt-4o"])
def test_a_provider_that_is_not_known_is_refused_with_those_that_are(spec: str) -> None:
    with pytest.raises(UnknownModel, match=r"known: 'openai'.*'openai/<model>'") as caught:
        find_model(spec, HttpClient(TRUSTED), {})
    assert repr(spec) in str(caught.value)
    assert Agent(spec).spec.model == spec, "what a spec names may be known elsewhere"


def test_a_wrong_call_of_agent_is_told_so_by_that_name() -> None:
    wrong: Any = Agent
    for call in (wrong, lambda: wrong("openai/m", instruction="x"), lambda: wrong("openai/m", "x")):
        with pytest.raises(TypeError, match=r"^Agent\(\) "):
            call()


def test_slashes_after_the_first_belong_to_the_models_name() -> None:
    assert find_model("openai/org/model", HttpClient(TRUSTED), {}).name == "openai/org/model"
