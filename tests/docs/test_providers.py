"""The pages on models name every provider there is with the variables it reads, and every field of one's own."""

from __future__ import annotations

import re
from typing import Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest
from tests.docs.playing import ROOT

from holdfast.models.access.custom import WIRES
from holdfast.models.access.oauth import ClientCredentials
from holdfast.models.access.servers import CustomServer
from holdfast.models.catalogue import FIELDS
from holdfast.models.counting import TokenCount, TokenShares
from holdfast.models.providers.table import TABLE
from holdfast.models.wire.chat.compat import Compat


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


@pytest.mark.requirement("newcomers:page")
def test_the_page_on_models_of_ones_own_has_every_field_and_every_value_of_a_switch() -> None:
    page = (ROOT / "docs" / "guide" / "custom-models.md").read_text("utf-8")
    rows = [line.split(" | ", 1) for line in page.splitlines() if line.startswith("| `")]
    shown = {name: said for names, said in rows for name in re.findall(r"`(\w+)`", names)}
    kinds: tuple[type[msgspec.Struct], ...] = (CustomServer, ClientCredentials, Compat, TokenCount)
    fields = {field for kind in kinds for field in kind.__struct_fields__}
    assert fields == set(shown)
    values = {field: get_args(hint) for field, hint in get_type_hints(Compat).items() if get_origin(hint) is Literal}
    for name, said in {**values, "wire": WIRES}.items():
        assert set(said) <= set(re.findall(r"`(\w+)`", shown[name])), name
    for name in (*TokenShares.__struct_fields__, *FIELDS):
        assert f"`{name}`" in page, name
