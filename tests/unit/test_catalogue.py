"""What the catalogue says of models, and that nobody changes it by asking."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import UsageError
from holdfast.models import catalogue
from holdfast.models.catalogue import LongContextPrice, ModelCard, known_models, lookup, refresh

NAMED = (
    *("openai", "anthropic", "google", "cohere", "ollama", "azure", "bedrock", "openrouter", "groq", "deepseek"),
    *("mistral", "xai", "cerebras"),
)
DATA = Path(catalogue.__file__).with_name("data")


def card(name: str) -> ModelCard:
    found = lookup(name)
    assert found is not None
    return found


@pytest.fixture
def restored() -> Iterator[None]:
    yield
    refresh()


@pytest.mark.requirement("catalogue:card")
def test_a_card_says_all_that_is_known_of_a_model() -> None:
    known = card("anthropic/claude-opus-4-5")
    assert known.price is not None
    assert (known.price.input, known.price.cache_read, known.price.cache_write) == (5 * 10**9, 5 * 10**8, 6.25 * 10**9)
    assert (known.context_window, known.max_output_tokens, known.assumed_output) == (200_000, 64_000, False)
    assert known.inputs == {"text", "image", "pdf"}
    assert known.thinking == ("off", "minimal", "low", "medium", "high")
    assert known.prefill is True


@pytest.mark.requirement("catalogue:card")
def test_what_nobody_knows_is_none_and_an_assumed_answer_says_so() -> None:
    known = card("openrouter/ai21/jamba-1-5-large")
    assert known.price is not None
    assert (known.context_window, known.max_output_tokens, known.inputs, known.thinking, known.prefill) == (None,) * 5
    assumed = card("mistral/mistral-large-2512")
    assert (assumed.max_output_tokens, assumed.assumed_output) == (16_000, True)


@pytest.mark.requirement("catalogue:card")
@pytest.mark.parametrize(
    ("name", "prefill"),
    [
        ("anthropic/claude-3-haiku-20240307", True),
        ("anthropic/claude-opus-4", True),
        ("anthropic/claude-opus-4-1", True),
        ("anthropic/claude-sonnet-4-5", True),
        ("anthropic/claude-haiku-4-5-20251001", True),
        ("anthropic/claude-opus-4-6", False),
        ("anthropic/claude-sonnet-4-6", False),
        ("anthropic/claude-opus-4-7", False),
        ("anthropic/claude-haiku-5-5", False),
        ("anthropic/claude-fable-5", False),
        ("bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", True),
        ("bedrock/global.anthropic.claude-opus-4-6-v1:0", False),
        ("openrouter/anthropic/claude-haiku-4.5", True),
        ("openrouter/anthropic/claude-opus-4.6", False),
        ("openai/gpt-5.4", False),
        ("groq/llama-3.3-70b-versatile", True),
        ("mistral/mistral-large-2512", None),
    ],
)
def test_an_answer_is_gone_on_with_only_by_models_of_which_that_is_known(name: str, prefill: bool | None) -> None:
    assert card(name).prefill is prefill


@pytest.mark.requirement("catalogue:card")
@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("openai/gpt-4o", ()),
        ("openai/gpt-5", ("minimal", "low", "medium", "high")),
        ("openai/gpt-5.1", ("off", "low", "medium", "high")),
        ("openai/gpt-5.2", ("off", "low", "medium", "high", "xhigh")),
        ("openai/gpt-5.3-codex", ("low", "medium", "high", "xhigh")),
        ("openai/gpt-5-pro", ("high",)),
        ("openai/o3", ("low", "medium", "high")),
        ("azure/o3", ("low", "medium", "high")),
        ("openai/gpt-6-sol", None),
        ("anthropic/claude-opus-4-6", ("off", "low", "medium", "high", "xhigh")),
        ("anthropic/claude-3-5-haiku-latest", ()),
        ("google/gemini-2.5-pro", ("minimal", "low", "medium", "high")),
        ("google/gemini-2.0-flash", ()),
    ],
)
def test_thinking_levels_are_those_a_model_takes(name: str, levels: tuple[str, ...] | None) -> None:
    assert card(name).thinking == levels


@pytest.mark.requirement("catalogue:providers")
def test_every_provider_has_its_place_and_azure_those_of_openai() -> None:
    assert set(NAMED) <= set(catalogue.providers())
    assert all(catalogue.listed_models(each) for each in NAMED if each != "ollama")
    assert catalogue.listed_models("ollama") == ()
    own, shared = card("openai/gpt-4.1"), card("azure/gpt-4.1")
    assert (shared.name, shared.price, shared.context_window) == ("azure/gpt-4.1", own.price, own.context_window)
    assert lookup("openai/phi-4") is None


@pytest.mark.requirement("catalogue:names-exact")
def test_every_name_of_the_catalogue_has_a_card_and_every_window_and_price_is_a_number_over_zero() -> None:
    names = known_models()
    assert len(names) == len(set(names)) > 2000
    for name in names:
        known = card(name)
        assert known.name == name
        assert known.price is not None or known.context_window is not None
        assert known.price is None or known.price.input + known.price.output > 0
        assert known.context_window is None or known.context_window > 0
        assert known.max_output_tokens is None or 0 < known.max_output_tokens <= (known.context_window or 10**9)


@pytest.mark.requirement("catalogue:names-exact")
@pytest.mark.parametrize(
    "name",
    [
        *("openai/gpt-5.4-mega", "openai/gpt-6-sol-2031", "openai/gpt-6-sol-20310102", "openai/GPT-4o", "openai/"),
        *("anthropic/claude-opus-4-6-2031-01-02", "openai/gpt-6-sol-####-##-##", "openai/gpt-4o/x", "/gpt-4o"),
        *("../data/openai/gpt-4o", "about/gpt-4o", "google/claude-opus-4-5", "x" * 100_000, "openai/" + "-1" * 50_000),
    ],
    ids=lambda name: name[:40],
)
def test_a_name_that_is_only_similar_is_unknown(name: str) -> None:
    assert lookup(name) is None


@pytest.mark.requirement("catalogue:names-exact")
def test_a_date_behind_a_name_changes_nothing_where_the_data_says_so() -> None:
    dated, plain = card("anthropic/claude-opus-5-5-20310102"), card("anthropic/claude-opus-5-5")
    assert dated.price == plain.price
    assert dated.name == "anthropic/claude-opus-5-5-20310102"
    assert dated.prefill is False


@pytest.mark.requirement("models:catalogue-copies")
def test_a_card_and_its_price_cannot_be_changed() -> None:
    known: Any = card("openai/gpt-5.4")
    for thing, field in ((known, "context_window"), (known.price, "input"), (known.price.tiers[0], "above")):
        with pytest.raises(AttributeError):
            setattr(thing, field, 1)
    assert isinstance(known.inputs, frozenset)
    assert isinstance(known.thinking, tuple)
    assert isinstance(known.price, LongContextPrice)
    assert isinstance(known.price.tiers, tuple)


def copied(folder: Path, *, window: int, release: str) -> Path:
    """Returns a folder with data of another release, in which every model has that window."""
    folder.mkdir()
    for path in DATA.glob("*.json"):
        held = json.loads(path.read_text("utf-8"))
        held["release"] = release
        for model in held.get("models", ()):
            model["window"] = window
        (folder / path.name).write_text(json.dumps(held), "utf-8")
    return folder


@pytest.mark.requirement("models:catalogue-copies")
@pytest.mark.usefixtures("restored")
def test_lookups_see_the_old_data_or_the_new_while_another_thread_refreshes(tmp_path: Path) -> None:
    folders = [copied(tmp_path / str(n), window=n, release=str(n)) for n in (7_000_001, 7_000_002)]
    refresh(folders[0])
    before = card("mistral/mistral-large-2512")
    seen: set[tuple[int | None, int | None]] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.add((card("mistral/mistral-large-2512").context_window, card("xai/grok-4").context_window))

    threads = [threading.Thread(target=look) for _ in range(3)]
    for each in threads:
        each.start()
    for turn in range(6):
        refresh(folders[turn % 2])
    over.set()
    for each in threads:
        each.join(5)
    assert {window for pair in seen for window in pair} <= {7_000_001, 7_000_002}
    assert before.context_window == 7_000_001, "a card is as it was when it was asked for"
    assert card("xai/grok-4").context_window == 7_000_002


@pytest.mark.requirement("catalogue:refresh-whole")
@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("damage", ["missing", "cut", "binary", "nested", "mixed", "wrong"])
def test_a_refresh_from_a_broken_folder_is_refused_and_changes_nothing(tmp_path: Path, damage: str) -> None:
    folder = copied(tmp_path / "data", window=5, release="5")
    path = folder / "xai.json"
    whole = path.read_bytes()
    broken = {
        "cut": whole[:-20],
        "binary": b"\xff\xfe" + whole,
        "nested": b"[" * 200_000,
        "mixed": whole.replace(b'"release": "5"', b'"release": "6"'),
        "wrong": whole.replace(b'"names": ["grok', b'"names": [7, "grok', 1),
    }
    path.unlink() if damage == "missing" else path.write_bytes(broken[damage])
    with pytest.raises(UsageError, match=r"xai\.json"):
        refresh(folder)
    assert card("xai/grok-4").context_window == 256_000


@pytest.mark.requirement("catalogue:lazy")
def test_the_import_reads_no_data_and_a_lookup_only_its_providers() -> None:
    program = (
        "import sys; seen = []\n"
        "sys.addaudithook(lambda event, args: seen.append(str(args[0])) if event == 'open' else None)\n"
        "from holdfast.models.catalogue import lookup\n"
        "print([each for each in seen if each.endswith('.json')])\n"
        "lookup('xai/grok-4'); lookup('xai/grok-4.3'); lookup('nobody/x')\n"
        "print([each.rpartition('/')[2] for each in seen if each.endswith('.json')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == ["[]", "['about.json', 'xai.json', 'facts.json']"]


def test_every_rule_of_facts_has_a_source_and_fits_a_model() -> None:
    told = json.loads(Path(catalogue.__file__).with_name("facts.json").read_text("utf-8"))
    names = {provider: [n.partition("/")[2] for n in known_models(provider)] for provider in told}
    from holdfast.models.catalogue.files import Rule, msgspec

    for provider, held in told.items():
        for each in held["rules"]:
            rule = msgspec.convert(each, Rule)
            assert rule.source
            assert any(rule.fits(name) for name in names[provider]), f"{provider}: {rule.match} fits nothing"
