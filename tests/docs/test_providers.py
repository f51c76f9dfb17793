"""The page on models names every provider there is, with the variables it reads."""

from __future__ import annotations

import re

import pytest
from tests.docs.playing import ROOT

from holdfast.models.providers.table import TABLE


@pytest.mark.requirement("choosing:page")
def test_the_page_on_models_has_each_provider_with_its_variables_and_no_other() -> None:
    page = (ROOT / "docs" / "guide" / "models.md").read_text("utf-8")
    rows = {
        name: line
        for line in re.findall(r"^\| (`.*) \|$", page, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", line.partition(" | ")[0])
    }
    assert list(rows) == list(dict.fromkeys(rows))
    assert set(rows) == set(TABLE)
    for name, provider in TABLE.items():
        told = provider.described()
        for variable in (*told.key_variables, told.url_variable):
            assert f"`{variable}`" in rows[name] or f"`…{variable[-9:]}`" in rows[name], (name, variable)
        assert ("none" in rows[name]) == (told.key == "optional"), name


@pytest.mark.requirement("choosing:page")
@pytest.mark.parametrize("name", ["README.md", "docs/guide/first-run.md"])
def test_other_pages_count_the_providers_right(name: str) -> None:
    text = " ".join((ROOT / name).read_text("utf-8").split())
    assert re.search(rf"of {len(TABLE)} providers|There are {len(TABLE)},", text)
