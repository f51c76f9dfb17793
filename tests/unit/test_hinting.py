"""A name that nobody knows is answered with the one that was meant, or with all there are."""

from __future__ import annotations

import pytest

from holdfast.errors.hinting import closest, hint


@pytest.mark.requirement("errors:hints")
@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("modle", ["mode", "model"], "model"),  # letters that changed places, though `mode` has more in common
        ("rnus", ["run", "runs"], "runs"),
        ("sandbx", ["sandbox", "store"], "sandbox"),
        ("zzz", ["sandbox", "store"], ""),
        ("", ["sandbox"], ""),
        ("x", [], ""),
    ],
)
def test_the_name_that_was_meant_is_found(name: str, known: list[str], meant: str) -> None:
    assert closest(name, known) == meant


@pytest.mark.requirement("errors:hints")
def test_a_hint_names_what_was_meant_or_what_there_is() -> None:
    assert hint("sandbx", ["sandbox", "store"]) == "did you mean 'sandbox'?"
    assert hint("zzz", ["sandbox", "store"]) == "there are sandbox, store"
    assert hint("zzz", ["sandbox"], "`holdfast config show` lists them") == "`holdfast config show` lists them"
