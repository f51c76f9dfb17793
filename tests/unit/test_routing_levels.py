"""What stands behind the last colon of a model's name: a level, one that was mistyped, or part of the name."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from string import ascii_lowercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import Agent, Runtime
from holdfast.errors import UnknownModel, UsageError
from holdfast.models.catalogue import known_models
from holdfast.models.routing.grammar import Names, Written, check_aliases, check_cycles, check_spec, expand, trace
from holdfast.types import LEVELS

TAGS = (
    "8b", "latest", "mini", "small", "large", "27b-it-qat", "free", "nitro", "floor", "online", "thinking", "beta",
    "extended", "instruct", "vision", "cloud", "e2b", "fp16", "0", "highest", "maximum", "none", "auto", "org::ab12",
)  # fmt: skip
"""What servers write behind a colon: Ollama's tags, OpenRouter's variants, tuned models, versions of Bedrock."""


def slips(level: str) -> Iterator[str]:
    """Yields a level with each slip of one step in it."""
    for at in range(len(level) + 1):
        yield level[:at] + level[at + 1 :]
        for letter in ascii_lowercase:
            yield level[:at] + letter + level[at:]
            yield level[:at] + letter + level[at + 1 :]
    for at, (one, other) in enumerate(pairwise(level)):
        yield level[:at] + other + one + level[at + 2 :]


@pytest.mark.requirement("newcomers:mistyped-level")
@pytest.mark.parametrize("level", LEVELS)
def test_every_slip_of_one_step_in_a_level_is_refused_and_that_level_or_one_as_near_proposed(level: str) -> None:
    for slip in {*slips(level)} - {*LEVELS, ""}:
        with pytest.raises(UnknownModel, match=f"'{slip}' is no level of thinking, did you mean 'openai/m:"):
            check_spec(f"openai/m:{slip}")
        assert expand(f"openai/m:{slip}:", Names()) == (Written(f"openai/m:{slip}"),)


@pytest.mark.requirement("newcomers:mistyped-level")
@pytest.mark.parametrize(
    ("spec", "proposed"),
    [
        ("openai/gpt-5:hihg", "'openai/gpt-5:high'"),
        ("openai/gpt-5:High", "'openai/gpt-5:high'"),
        ("openai/gpt-5: high", "'openai/gpt-5:high'"),
        ("openai/gpt-5:mdium", "'openai/gpt-5:medium'"),
        ("openai/gpt-5:minmla", "'openai/gpt-5:minimal'"),
        ("openai/gpt-5:xhihg", "'openai/gpt-5:xhigh'"),
        ("a/b,smart:lwo", "'smart:low'"),
        ("ollama/llama3:8b:hgih", "'ollama/llama3:8b:high'"),
    ],
)
def test_a_mistyped_level_is_refused_wherever_a_model_is_named(spec: str, proposed: str) -> None:
    for ask in (check_spec, Agent, lambda spec: expand(spec, Names({"smart": "a/b"}))):
        with pytest.raises(UnknownModel, match=f"did you mean {proposed}"):
            ask(spec)


@pytest.mark.requirement("newcomers:mistyped-level")
def test_names_that_truly_hold_colons_go_on_meaning_themselves() -> None:
    for tag in TAGS:
        assert expand(f"p/m:{tag}", Names()) == (Written(f"p/m:{tag}"),)
        assert expand(f"p/m:{tag}:high", Names()) == (Written(f"p/m:{tag}", "high"),)
    described = [name for name in known_models() if ":" in name]
    assert len(described) > 50
    for name in described:
        assert expand(name, Names()) == (Written(name),), name


@pytest.mark.requirement("newcomers:mistyped-level")
@given(st.text(alphabet=ascii_lowercase + "0123456789.-_:", max_size=20), st.sampled_from(["", *LEVELS]))
def test_a_colon_at_the_end_makes_a_name_of_all_that_stands_before_it(tag: str, level: str) -> None:
    name = f"p/m:{tag}{level}"
    assert expand(f"{name}:", Names()) == (Written(name),)
    assert expand(f"{name}::low", Names()) == (Written(f"{name}:", "low"),)


@pytest.mark.requirement("newcomers:mistyped-level")
@pytest.mark.parametrize("name", ["a:hihg", "a:", "a:low"])
def test_an_alias_cannot_have_a_name_that_would_be_read_as_something_else(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be an alias"):
        check_aliases({name: "x/y"})


@pytest.mark.requirement("newcomers:show-resolves")
def test_each_model_knows_the_names_it_came_out_of() -> None:
    names = Names({"a": "b,p/x", "b": "p/y:low"}, {"t": "a,p/z"}.get)
    found = [(each.written.name, each.written.level, each.via) for each in trace("t:high,p/q", names)]
    assert found == [
        ("p/y", "high", ("t", "a", "b")),
        ("p/x", "high", ("t", "a")),
        ("p/z", "high", ("t",)),
        ("p/q", None, ()),
    ]


GRAPHS = st.dictionaries(
    st.sampled_from("abcdefg"),
    st.lists(st.sampled_from(["a", "b:high", "c", "d", "e:", "f", "g", "p/a", "h"]), min_size=1, max_size=4).map(
        ",".join
    ),
)


@pytest.mark.requirement("newcomers:name-rings")
@given(GRAPHS)
def test_names_are_refused_exactly_where_one_leads_back_to_itself_and_the_ring_is_a_true_one(
    named: dict[str, str],
) -> None:
    follows = {name: {part.partition(":")[0] for part in spec.split(",")} & {*named} for name, spec in named.items()}
    reach = {name: set(after) for name, after in follows.items()}
    for _ in named:
        reach = {name: after.union(*(reach[each] for each in after)) for name, after in reach.items()}
    try:
        check_cycles(named, lambda name: f"line of {name}")
    except UsageError as error:
        place, _, said = str(error).partition(": ")
        ring = [each.strip("'") for each in said.partition("(")[2].partition(")")[0].split(" → ")]
        assert ring[0] == ring[-1] == place.removeprefix("line of ")
        assert all(after in follows[before] for before, after in pairwise(ring))
    else:
        assert not any(name in after for name, after in reach.items())


@pytest.mark.requirement("newcomers:name-rings")
def test_a_program_cannot_open_a_runtime_with_names_that_lead_back_to_themselves() -> None:
    with pytest.raises(UsageError, match="'a' stands for itself"):
        Runtime.open("memory:", aliases={"a": "b", "b": "a"})
    with pytest.raises(UsageError, match="'b' stands for itself"):
        Runtime.open("memory:", aliases={"a": "b"}, tiers={"b": "p/x,a"})


@pytest.mark.requirement("newcomers:name-rings")
def test_a_very_long_line_of_names_is_looked_through_and_a_very_long_ring_found() -> None:
    line = {f"a{n}": f"a{n + 1}" for n in range(20_000)} | {"a20000": "p/x"}
    check_cycles(line)
    with pytest.raises(UsageError, match="'a0' stands for itself"):
        check_cycles({**line, "a20000": "a0"})
