"""What people say of models in their settings."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.errors import UsageError
from holdfast.models.catalogue import Facts, LongContextPrice, lookup, read_facts
from holdfast.types import Price


@pytest.mark.requirement("catalogue:facts-own")
def test_what_is_said_goes_before_the_catalogue_and_the_rest_stays() -> None:
    facts = read_facts({"openai/gpt-5.4": {"input": 1, "output": "2.5", "context_window": "200_000", "prefill": "yes"}})
    card, known = lookup("openai/gpt-5.4", facts=facts), lookup("openai/gpt-5.4")
    assert card is not None
    assert known is not None
    assert card.price == Price.per_million(1, 2.5), "the tiers of the price that was replaced are gone with it"
    assert isinstance(known.price, LongContextPrice)
    assert (card.context_window, card.prefill) == (200_000, True)
    assert (card.max_output_tokens, card.thinking) == (known.max_output_tokens, known.thinking)
    assert card.given == {"input", "output", "context_window", "prefill"}


@pytest.mark.requirement("catalogue:facts-own")
def test_a_model_of_ones_own_is_described_by_what_is_said_alone() -> None:
    told = {"inputs": "text, image", "thinking": "high,low", "context_window": 32_768, "input": 0, "output": 0}
    card = lookup("ollama/mine:7b", facts=read_facts({"ollama/mine:7b": told}))
    assert card is not None
    assert card.price == Price(0, 0, 0, 0), "nothing is a price, when a person says so"
    assert (card.inputs, card.thinking, card.context_window) == ({"text", "image"}, ("low", "high"), 32_768)
    assert (card.max_output_tokens, card.assumed_output, card.prefill) == (4096, True, None)
    assert lookup("ollama/mine:7b") is None


@pytest.mark.requirement("catalogue:facts-own")
def test_a_programs_price_goes_before_what_settings_say() -> None:
    facts = {"x/y": Facts(input=1, output=1, context_window=9)}
    card = lookup("x/y", {"x/y": Price.per_million(7, 7)}, facts)
    assert card is not None
    assert (card.price, card.context_window) == (Price.per_million(7, 7), 9)


@pytest.mark.requirement("catalogue:facts-own")
def test_a_model_can_be_said_not_to_think() -> None:
    facts = read_facts({"xai/grok-4.3": {"thinking": "none"}, "xai/grok-4.5": {"thinking": []}})
    for name in facts:
        card = lookup(name, facts=facts)
        assert card is not None
        assert card.thinking == ()


WRONG: list[tuple[Any, str]] = [
    ({"openai/m": {"inptu": 1}}, r"models\.openai/m\.inptu.*did you mean 'input'"),
    ({"openai/m": {"colour": 1}}, r"models\.openai/m\.colour.*there are input"),
    ({"openai/m": {"input": -1, "output": 1}}, r"models\.openai/m\.input cannot be -1: dollars per million"),
    ({"openai/m": {"input": "nan", "output": 1}}, r"models\.openai/m\.input cannot be 'nan'"),
    ({"openai/m": {"input": True, "output": 1}}, r"models\.openai/m\.input cannot be True"),
    ({"openai/m": {"input": "1e-12", "output": 1}}, r"models\.openai/m\.input cannot be '1e-12'"),
    ({"openai/m": {"input": 10**400, "output": 1}}, r"models\.openai/m\.input cannot be 1000"),
    ({"openai/m": {"input": 1}}, r"models\.openai/m\.output is missing beside input"),
    ({"openai/m": {"cache_read": 1}}, r"models\.openai/m\.input is missing beside cache_read"),
    ({"openai/m": {"context_window": 0}}, r"models\.openai/m\.context_window cannot be 0: a whole number"),
    ({"openai/m": {"context_window": 1.5}}, r"models\.openai/m\.context_window cannot be 1\.5"),
    ({"openai/m": {"max_output_tokens": "9" * 5000}}, r"models\.openai/m\.max_output_tokens cannot be '999"),
    ({"openai/m": {"inputs": "text, smell"}}, r"models\.openai/m\.inputs cannot be 'text, smell'.*text, image, pdf"),
    ({"openai/m": {"inputs": []}}, r"models\.openai/m\.inputs cannot be \[\]: a model takes at least text"),
    ({"openai/m": {"inputs": [["text"]]}}, r"models\.openai/m\.inputs cannot be"),
    ({"openai/m": {"thinking": "hard"}}, r"models\.openai/m\.thinking cannot be 'hard'.*minimal"),
    ({"openai/m": {"prefill": "perhaps"}}, r"models\.openai/m\.prefill cannot be 'perhaps': true or false"),
    ({"openai/m": {"prefill": None}}, r"models\.openai/m\.prefill cannot be None"),
    ({"openai/m": 7}, r"models\.openai/m: names with values are wanted there, not 7"),
    ({"gpt-4o": {}}, r"models: 'gpt-4o' is no model: write provider/name"),
    ({"openai/": {}}, r"models: 'openai/' is no model"),
    ({7: {}}, r"models: 7 is no name"),
    ([], r"models: names with values are wanted"),
]


@pytest.mark.requirement("catalogue:facts-own")
@pytest.mark.parametrize(("told", "message"), WRONG, ids=lambda each: str(each)[:50])
def test_a_wrong_word_is_an_error_that_names_the_model_and_the_field(told: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read_facts(told)
    assert len(str(caught.value)) < 400


@pytest.mark.requirement("catalogue:facts-own")
def test_facts_made_by_a_program_are_checked_too_and_keep_nothing_that_can_change() -> None:
    wrong: Any = Facts
    for fields, message in (({"input": "x", "output": 1}, "input cannot be 'x'"), ({"input": 1}, "output is missing")):
        with pytest.raises(UsageError, match=message):
            wrong(**fields)
    inputs = ["text"]
    facts = wrong(inputs=inputs)
    inputs.append("image")
    assert facts.inputs == frozenset({"text"})
