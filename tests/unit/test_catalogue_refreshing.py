"""How the catalogue's data is made from its package."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from holdfast.models import catalogue

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(catalogue.__file__).with_name("data")

SAMPLE = '''
"""What the package says, in its form."""
import datetime
from decimal import Decimal
from .types import *

providers: list[Provider] = [
    Provider(id="unheard-of", name="U", api_pattern="x", models=[]),
    Provider(
        id="x-ai", name="X", api_pattern="x",
        models=[
            ModelInfo(
                id="grok-9",
                match=ClauseOr(or_=[ClauseEquals(equals="grok-9"), ClauseRegex(regex="^grok-9-\\\\d{8}$"),
                                    ClauseEquals(equals="x-ai/grok-9"), ClauseEquals(equals="grok-latest")]),
                context_window=500000,
                prices=[
                    ConditionalPrice(prices=ModelPrice(input_mtok=Decimal("9"), output_mtok=Decimal("9"))),
                    ConditionalPrice(
                        constraint=StartDateConstraint(start_date=datetime.date(2026, 4, 30)),
                        prices=ModelPrice(
                            input_mtok=TieredPrices(base=Decimal("2"), tiers=[
                                Tier(start=100, price=Decimal("3")), Tier(start=200, price=Decimal("4.5"))]),
                            output_mtok=TieredPrices(base=Decimal("6"), tiers=[Tier(start=200, price=Decimal("12"))]),
                            cache_read_mtok=Decimal("0.2"), web_searches_kcount=Decimal("10"))),
                    ConditionalPrice(
                        constraint=StartDateConstraint(start_date=datetime.date(2027, 1, 1)),
                        prices=ModelPrice(input_mtok=Decimal("1"), output_mtok=Decimal("3"))),
                ],
            ),
            ModelInfo(id="grok-9-mini", match=ClauseStartsWith(starts_with="grok-9-mini"), deprecated=True,
                      prices=ModelPrice(input_mtok=Decimal("0.1"), output_mtok=Decimal("0.2"))),
            ModelInfo(
                id="by-hour", match=ClauseEquals(equals="by-hour"),
                prices=[
                    ConditionalPrice(prices=ModelPrice(input_mtok=Decimal("1"), output_mtok=Decimal("8"))),
                    ConditionalPrice(
                        constraint=TimeOfDateConstraint(start_time=datetime.time(22, 0, tzinfo=datetime.UTC),
                                                        end_time=datetime.time(3, 30, tzinfo=datetime.UTC)),
                        prices=ModelPrice(input_mtok=Decimal("2"), output_mtok=Decimal("7"),
                                          cache_read_mtok=Decimal("0.5"))),
                ],
            ),
            ModelInfo(id="thinker", match=ClauseEquals(equals="thinker"), context_window=8,
                      prices=ModelPrice(input_mtok=Decimal("1"), output_mtok=Decimal("2"),
                                        output_reasoning_mtok=Decimal("5"))),
            ModelInfo(id="free", match=ClauseEquals(equals="free"), context_window=8,
                      prices=ModelPrice(input_mtok=Decimal("0"), output_mtok=Decimal("0"))),
            ModelInfo(id="per-call", match=ClauseEquals(equals="per-call"),
                      prices=ModelPrice(input_mtok=Decimal("1"), output_mtok=Decimal("2"),
                                        requests_kcount=Decimal("12"))),
            ModelInfo(id="nothing", match=ClauseEquals(equals="nothing"), prices=ModelPrice()),
            ModelInfo(id="grok-embed", match=ClauseEquals(equals="grok-embed"),
                      prices=ModelPrice(input_mtok=Decimal("1"))),
            ModelInfo(id="grok-image", match=ClauseEquals(equals="grok-image"),
                      prices=ModelPrice(input_mtok=Decimal("1"), output_mtok=Decimal("2"))),
            ModelInfo(id="speaker", match=ClauseEquals(equals="speaker"),
                      prices=ModelPrice(input_mtok=Decimal("1"), output_mtok=Decimal("2"),
                                        output_audio_mtok=Decimal("3"))),
        ],
    ),
    Provider(
        id="aws", name="A", api_pattern="x",
        models=[
            ModelInfo(id="global.a.m-v1:0", match=ClauseContains(contains="global.a.m"), context_window=1,
                      prices=ModelPrice(input_mtok=Decimal("1"), output_mtok=Decimal("2"))),
            ModelInfo(id="regional.a.m-v1:0",
                      match=ClauseOr(or_=[ClauseStartsWith(starts_with="a.m"), ClauseContains(contains="us.a.m")]),
                      prices=ModelPrice(input_mtok=Decimal("1.1"), output_mtok=Decimal("2.2"))),
        ],
    ),
    Provider(id="azure", name="Z", api_pattern="x", fallback_model_providers=["openai", "x-ai"], models=[]),
]
'''


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refresh_catalogue", ROOT / "scripts" / "refresh_catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made(script: ModuleType, day: str = "2026-11-21") -> dict[str, dict[str, Any]]:
    files: dict[str, str] = script.files_of(script.read_package(SAMPLE), "9.9", day)
    return {name: json.loads(text) for name, text in files.items()}


def models(script: ModuleType, file: str) -> dict[str, dict[str, Any]]:
    return {each["names"][0]: each for each in made(script)[file]["models"]}


@pytest.mark.requirement("catalogue:refreshed-from-package")
def test_prices_names_windows_and_announcements_come_out_as_the_package_says(script: ModuleType) -> None:
    assert models(script, "xai.json")["grok-9"] == {
        "names": ["grok-9", "grok-9-########", "grok-latest"],
        "price": [2, 6, 0.2],
        "tiers": [[100, 3, 6, 0.2], [200, 4.5, 12, 0.2]],
        "window": 500_000,
        "later": [{"since": "2027-01-01", "price": [1, 3]}],
    }
    assert models(script, "xai.json")["grok-9-mini"] == {
        "names": ["grok-9-mini", "grok-9-mini-########"],
        "price": [0.1, 0.2],
        "old": True,
    }
    assert models(script, "xai.json")["per-call"]["request"] == 0.012


@pytest.mark.requirement("catalogue:refreshed-from-package", "catalogue:price-inexpressible")
def test_what_has_no_price_that_can_be_said_has_none_and_what_is_no_chat_model_is_left_out(script: ModuleType) -> None:
    found = models(script, "xai.json")
    assert set(found) == {"grok-9", "grok-9-mini", "by-hour", "thinker", "free", "per-call"}
    assert found["thinker"] == {"names": ["thinker"], "window": 8}
    assert found["free"] == {"names": ["free"], "window": 8}, "zero is no price"


@pytest.mark.requirement("catalogue:price-changes")
def test_of_prices_that_depend_on_the_hour_each_rate_is_the_dearest(script: ModuleType) -> None:
    assert models(script, "xai.json")["by-hour"] == {"names": ["by-hour"], "price": [2, 8, 1], "by_hour": True}


@pytest.mark.requirement("catalogue:refreshed-from-package", "catalogue:names-exact")
def test_regional_names_are_those_the_package_takes_for_the_model(script: ModuleType) -> None:
    found = models(script, "bedrock.json")
    assert found["a.m-v1:0"]["names"] == ["a.m-v1:0", "us.a.m-v1:0"]
    assert found["global.a.m-v1:0"]["names"] == ["global.a.m-v1:0"]


@pytest.mark.requirement("catalogue:refreshed-from-package")
def test_the_same_release_and_day_give_the_same_bytes_and_say_where_they_are_from(script: ModuleType) -> None:
    assert script.files_of(script.read_package(SAMPLE), "9.9", "2026-11-21") == script.files_of(
        script.read_package(SAMPLE), "9.9", "2026-11-21"
    )
    files = made(script)
    about = files["about.json"]
    assert (about["source"], about["day"], about["licence"][:3]) == ("genai-prices 9.9", "2026-11-21", "MIT")
    assert about["providers"] == {"azure": {"like": ["openai", "xai"]}, "bedrock": {}, "ollama": {}, "xai": {}}
    assert {each["release"] for each in files.values()} == {"9.9 2026-11-21"}
    assert made(script, "2027-02-01")["xai.json"]["models"][0]["price"] == [1, 3]


@pytest.mark.requirement("catalogue:refreshed-from-package")
@pytest.mark.parametrize("text", ["x = 1", "providers: list[P] = [print('run')]", "providers: L = [open('x', 'w')]"])
def test_data_of_another_form_ends_the_refresh_and_is_never_run(
    script: ModuleType, text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="look at it"):
        script.files_of(script.read_package(text), "1", "2026-01-01")
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.requirement("catalogue:refreshed-from-package")
def test_the_data_that_comes_along_is_small_and_says_its_source_licence_and_day() -> None:
    files = list(DATA.iterdir())
    assert sum(path.stat().st_size for path in files) <= 300_000
    assert "MIT License" in (DATA / "LICENSE.txt").read_text("utf-8")
    about = catalogue.about()
    assert about.source.startswith("genai-prices ")
    assert about.licence.startswith("MIT")
    assert len(about.day) == 10
    assert {path.stem for path in files} - {"about", "LICENSE"} == set(about.providers)
