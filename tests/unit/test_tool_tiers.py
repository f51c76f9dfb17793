"""Where each tool acts: one table, and what says nothing is inside."""

from __future__ import annotations

import pytest

from holdfast.tools.builtin.table import BUILTIN
from holdfast.tools.declaring import tool
from holdfast.tools.tiers import REASONS, TIERS

pytestmark = pytest.mark.requirement("tools:tiers", "tools:tier-routing")
EXPECTED = {
    "read": "direct",
    "grep": "direct",
    "glob": "direct",
    "ls": "direct",
    "write": "direct",
    "edit": "direct",
    "fetch": "direct",
    "question": "direct",
    "script": "direct",
    "classify": "direct",
    "extract_entities": "direct",
    "summarize": "direct",
    "kv_get": "direct",
    "kv_set": "direct",
    "kv_list": "direct",
    "kv_delete": "direct",
    "file_save": "direct",
    "file_get": "direct",
    "file_get_text": "direct",
    "file_get_metadata": "direct",
    "file_list": "direct",
    "file_delete": "direct",
    "file_search": "direct",
    "find_tools": "direct",
    "calculator": "direct",
    "think": "direct",
    "now": "direct",
    "cite": "direct",
    "web_search": "direct",
    "python": "inside",
    "bash": "inside",
    "process": "inside",
    "git": "outside",
}


def test_each_builtin_tool_says_where_it_acts_and_the_table_why() -> None:
    assert {name: BUILTIN[name].tier for name in BUILTIN} == EXPECTED
    assert set(REASONS) == set(BUILTIN)
    assert set(TIERS) == set(EXPECTED.values())


def test_a_tool_that_says_nothing_is_inside() -> None:
    @tool
    def silent(path: str) -> str:
        return path

    assert silent.tier == "inside"
