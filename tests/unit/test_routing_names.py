"""From what people write for a model to the models that are meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UnknownModel, UsageError
from holdfast.models.routing.grammar import Names, Written, check_aliases, check_spec, expand
from holdfast.models.routing.routes import Routes
from holdfast.models.routing.tiers import Tiers
from holdfast.testing.clock import FakeClock
from holdfast.types import LEVELS


def names_of(spec: str, names: Names | None = None) -> list[str]:
    return [f"{each.name}{f':{each.level}' if each.level else ''}" for each in expand(spec, names or Names())]


ALIASES = {
    "quick": "openai/gpt-5-mini",
    "best": "anthropic/claude-opus-4-5, openai/gpt-5:high",
    "either": "best,quick,groq/llama",
    "here": "lmstudio/qwen3:8b",
}


@pytest.mark.requirement("models:spec-grammar")
@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("openai/gpt-5", ["openai/gpt-5"]),
        ("  openai/gpt-5 ,anthropic/claude ", ["openai/gpt-5", "anthropic/claude"]),
        ("openrouter/meta/llama-4", ["openrouter/meta/llama-4"]),
        ("openai//odd", ["openai//odd"]),
        ("openrouter/deepseek/r1:free", ["openrouter/deepseek/r1:free"]),
        ("openai/gpt-5:high", ["openai/gpt-5:high"]),
        ("openai/gpt-5:highest", ["openai/gpt-5:highest"]),
        ("quick", ["openai/gpt-5-mini"]),
        ("quick,openai/gpt-5-mini", ["openai/gpt-5-mini"]),
        ("openai/gpt-5-mini:low,quick", ["openai/gpt-5-mini:low"]),
        ("best", ["anthropic/claude-opus-4-5", "openai/gpt-5:high"]),
        ("best:low", ["anthropic/claude-opus-4-5:low", "openai/gpt-5:low"]),
        ("a/b,either,c/d", ["a/b", "anthropic/claude-opus-4-5", "openai/gpt-5:high", "openai/gpt-5-mini", "groq/llama",
                            "c/d"]),
        ("either,either:xhigh", ["anthropic/claude-opus-4-5", "openai/gpt-5:high", "openai/gpt-5-mini", "groq/llama"]),
        ("here", ["lmstudio/qwen3:8b"]),
    ],
)  # fmt: skip
def test_a_spec_means_its_models_in_their_order_each_once(spec: str, meant: list[str]) -> None:
    assert names_of(spec, Names(ALIASES)) == meant


@pytest.mark.requirement("models:spec-grammar")
@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "names none"),
        ("  ", "names none"),
        ("a/b,,c/d", "element 2 of 'a/b,,c/d' is empty"),
        ("a/b,", "element 2 of"),
        ("/gpt", "'/gpt'.*openai/gpt'"),
        ("openai/", "'openai/'.*openai/<model>"),
        ("/", "'/'"),
        ("a/b,nope", "'nope'.*no alias.*'best'.*model.tier.nope is not set.*openai/nope"),
        ("one\x07two", r"'one\\x07two'.*cannot be printed"),
        ("round", "'round' stands for itself.*'round' → 'about' → 'round'"),
        ("through", "'gone'.*in 'through'.*no alias"),
        ("x" * 20_000, "20,000 characters"),
    ],
)
def test_what_means_nothing_is_refused_by_its_name(spec: str, said: str) -> None:
    aliases = {**ALIASES, "round": "a/b,about", "about": "round", "through": "gone"}
    with pytest.raises(UnknownModel, match=said):
        expand(spec, Names(aliases))


@pytest.mark.requirement("models:model-string")
def test_a_bare_name_is_the_default_providers_and_later_slashes_are_the_models() -> None:
    assert names_of("gpt-5, quick:low", Names(ALIASES, provider="openai")) == ["openai/gpt-5", "openai/gpt-5-mini:low"]
    assert names_of("a/b/c/d") == ["a/b/c/d"]
    with pytest.raises(UnknownModel, match="'gpt-5'"):
        expand("gpt-5", Names())


def test_a_wide_net_of_aliases_costs_what_it_has_members_and_a_long_line_is_refused() -> None:
    net = {f"a{n}": f"a{n + 1},a{n + 1}:high,a{n + 1}" for n in range(30)} | {"a30": "openai/end"}
    assert names_of("a0", Names(net)) == ["openai/end"]  # 3 ** 30 ways lead there
    wide = {f"a{n}": f"openai/{n}" for n in range(5_000)}
    many = ",".join(wide)[:16_000].rpartition(",")[0]
    assert len(names_of("all", Names({**wide, "all": many}))) == many.count(",") + 1
    line = {f"a{n}": f"a{n + 1}" for n in range(20_000)} | {"a20000": "openai/end"}
    with pytest.raises(UnknownModel, match="'a0' stands for a name for a name, 32 times"):
        expand("a0", Names(line))


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.lists(st.sampled_from(["a", "b", "c", "d:low", "e", "f", "p/x", "p/y:high", "q/z/w", ""]), min_size=1).map(
            ",".join
        ),
    ),
    st.lists(st.sampled_from(["a", "b:off", "c", "p/x", "/", "r/s"]), min_size=1, max_size=4).map(",".join),
)
@pytest.mark.requirement("models:spec-grammar")
def test_any_list_resolves_to_distinct_models_or_is_refused(aliases: dict[str, str], spec: str) -> None:
    try:
        meant = expand(spec, Names(aliases))
    except UnknownModel as error:
        assert str(error)
        return
    assert meant
    assert len({each.name for each in meant}) == len(meant)
    assert all(each.level in (None, *LEVELS) and "/" in each.name for each in meant)
    assert (
        expand(",".join(f"{each.name}:{each.level}" if each.level else each.name for each in meant), Names()) == meant
    )


@pytest.mark.parametrize(
    ("aliases", "said"),
    [({"a/b": "x/y"}, "'a/b' cannot be"), ({"a:low": "x/y"}, "cannot be"), ({" ": "x/y"}, "cannot be"),
     ({"a": "x/"}, "alias 'a'.*'x/'"), ({"a,b": "x/y"}, "cannot be"), ({"a": ""}, "alias 'a'.*names none")],
)  # fmt: skip
def test_an_alias_that_cannot_be_one_is_refused_when_it_is_given(aliases: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_aliases(aliases)
    with pytest.raises(UsageError, match=said):
        Routes(FakeClock(), aliases=aliases)


def test_a_provider_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(UsageError, match="'open/ai' is no provider"):
        Routes(FakeClock(), provider="open/ai")


def test_what_may_mean_something_is_let_through_before_anybody_knows_the_aliases() -> None:
    for spec in ("smart", "smart:high,openai/gpt-5", "a/b/c"):
        check_spec(spec)


@pytest.mark.requirement("models:tiers-from-config")
async def test_a_tier_is_what_is_configured_then_its_fallback_and_is_asked_for_again_after_a_while() -> None:
    clock, configured, looked = FakeClock(), {"model.tier.smart": "a/one"}, list[str]()

    def read(key: str) -> str | None:
        looked.append(key)
        return configured.get(key)

    tiers = Tiers({"smart": "z/fallback", "fast": "z/quick"}, read=read, lifetime=60, clock=clock)
    routes = Routes(clock, tiers=tiers)
    assert [each.name for each in routes.meant("smart")] == ["a/one"]
    assert [each.name for each in routes.meant("fast")] == ["z/quick"]
    configured["model.tier.smart"] = "a/two:high,a/three"
    assert [each.name for each in routes.meant("smart")] == ["a/one"]
    assert looked == ["model.tier.smart", "model.tier.fast"]
    await clock.advance(60)
    assert routes.meant("smart") == (Written("a/two", "high"), Written("a/three"))
    assert routes.meant("smart:low") == (Written("a/two", "low"), Written("a/three", "low"))
    del configured["model.tier.smart"]
    await clock.advance(60)
    assert [each.name for each in routes.meant("smart")] == ["z/fallback"]


@pytest.mark.requirement("models:tiers-from-config")
async def test_a_configuration_that_cannot_be_read_for_a_while_leaves_a_tier_what_it_was() -> None:
    clock, said, looked = FakeClock(), ["a/one"], list[str]()

    def read(key: str) -> str | None:
        looked.append(key)
        if not said:
            raise UsageError("it is being edited")
        return said[0]

    routes = Routes(clock, tiers=Tiers(read=read, lifetime=60, clock=clock))
    assert [each.name for each in routes.meant("smart")] == ["a/one"]
    said.clear()
    await clock.advance(60)
    assert [each.name for each in routes.meant("smart")] == ["a/one"]
    assert [each.name for each in routes.meant("smart")] == ["a/one"]
    assert len(looked) == 2, "and it is not asked for each run meanwhile"
    with pytest.raises(UsageError, match="edited"):
        routes.meant("fast")
    said.append("a/two")
    await clock.advance(60)
    assert [each.name for each in routes.meant("smart")] == ["a/two"]


@pytest.mark.requirement("models:tiers-from-config")
def test_a_tier_may_name_models_and_aliases_and_no_tier() -> None:
    tiers = {"smart": "best,c/d", "odd": "a/b,smart", "round": "again"}
    routes = Routes(FakeClock(), aliases={"best": "a/b", "again": "smart"}, tiers=tiers)
    assert [each.name for each in routes.meant("smart")] == ["a/b", "c/d"]
    assert [each.name for each in routes.meant("again")] == ["a/b", "c/d"]
    for spec in ("odd", "round"):
        with pytest.raises(UnknownModel, match=f"tier '{spec}' names another tier, 'smart'"):
            routes.meant(spec)


@pytest.mark.requirement("models:tiers-from-config")
def test_every_element_of_a_tier_is_looked_at() -> None:
    with pytest.raises(UsageError, match=r"tier 'smart'.*element 2"):
        Tiers({"smart": "a/b,"})
    routes = Routes(FakeClock(), tiers=Tiers(read=lambda key: "a/b,nope" if key.endswith("smart") else None))
    with pytest.raises(UnknownModel, match=r"'nope'.*in 'smart'"):
        routes.meant("smart")
