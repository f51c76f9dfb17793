"""Secrets are taken out of text, whether they look like it or are known."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.safety.redacting import MARK, Redactor


@pytest.mark.requirement("safety:redaction-patterns")
@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {MARK}"),
        ("authorization=Basic dXNlcjpwYXNz", f"authorization=Basic {MARK}"),
        ('{"Authorization": "Bearer abc"}', f'{{"Authorization": "Bearer {MARK}"}}'),
        ("curl -H 'X-Api-Key: k1' x", f"curl -H 'X-Api-Key: {MARK}' x"),
        ("https://x/?api_key=zzz&page=1", f"https://x/?api_key={MARK}&page=1"),
        ("api-key: zzz", f"api-key: {MARK}"),
        ("client_secret=zzz; password='pw'; TOKEN=t", f"client_secret={MARK}; password='{MARK}'; TOKEN={MARK}"),
        ('{"password": "pw", "user": "me"}', f'{{"password": "{MARK}", "user": "me"}}'),
        ("the key is sk-proj_abcdefghij.", f"the key is {MARK}."),
        ("a bearer of news", f"a bearer {MARK} news"),  # what looks like one is taken for one
        ("sk-short and the token: five", "sk-short and the token: five"),
        ("nothing of the kind", "nothing of the kind"),
    ],
)
def test_what_looks_like_a_secret_is_marked(text: str, clean: str) -> None:
    redactor = Redactor()
    assert redactor.clean(text) == clean
    assert redactor.clean(clean) == clean


@pytest.mark.requirement("safety:redaction-values")
@pytest.mark.parametrize("secret", ["hunter22", 'a/b+c=d"e\\f', "Grüße-und-Küsse"])
def test_a_known_value_is_found_in_every_spelling(secret: str) -> None:
    redactor = Redactor([secret])
    spellings = [secret, json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret), quote(secret, safe="")]
    spellings += [base64.b64encode(secret.encode()).decode(), base64.urlsafe_b64encode(secret.encode()).decode()]
    for spelling in spellings:
        assert redactor.clean(f"before <{spelling}> after") in (f"before <{MARK}> after", f"before <{MARK}=> after")


@pytest.mark.requirement("safety:redaction-values")
def test_of_two_values_the_one_that_holds_the_other_leaves_nothing() -> None:
    redactor = Redactor(["secret", "secretsecond"])
    assert redactor.clean("x secretsecond y secret") == f"x {MARK} y {MARK}"


@pytest.mark.requirement("safety:redaction-values")
def test_short_values_are_not_looked_for() -> None:
    assert Redactor(["the"]).clean("the end") == "the end"


@pytest.mark.requirement("safety:redaction-values")
@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_nothing_of_a_value_stays_in_any_data(data: object) -> None:
    redactor = Redactor(["hunter22"])
    shown = json.dumps(redactor.clean_data({"a": [data, "x hunter22 y"], "hunter22": data}))
    assert "hunter22" not in shown
    assert json.loads(shown)["a"][1] == f"x {MARK} y"


@pytest.mark.requirement("safety:redaction-patterns")
@given(st.text(st.sampled_from("sk-abc Bearer=:token\"'\\[REDACTED]\n")))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    redactor = Redactor(["abcabc"])
    once = redactor.clean(text)
    assert redactor.clean(once) == once


@pytest.mark.requirement("safety:redaction-values")
@pytest.mark.parametrize(
    ("secret", "written"),
    [
        ("pässwörter", json.dumps("pässwörter")[1:-1]),
        ("ab/cd+efgh", r"ab\/cd+efgh"),
        ("pass&word<1>", r"pass\u0026word\u003c1\u003e"),
        ("pass&word<1>", "pass&amp;word&lt;1&gt;"),
        ("my secret pass", "my+secret+pass"),
        ("ab/cd=efgh", "ab%2fcd%3defgh"),
        ("half \udcff a sign", "half ? a sign"),
        ("half \udcff a sign", "half \udcff a sign"),
    ],
)
def test_a_known_value_is_found_as_other_programs_write_it(secret: str, written: str) -> None:
    assert Redactor([secret]).hide(f"<{written}>") == f"<{MARK}>"


@pytest.mark.requirement("safety:redaction-values")
def test_of_two_values_that_overlap_nothing_stays() -> None:
    redactor = Redactor(["xxabcdef", "abcdefghijkl", "ghijklmnop"])
    assert redactor.hide("say xxabcdefghijklmnop, and abcdefxx") == f"say {MARK}, and abcdefxx"
    assert redactor.hide("xxabcdefxxabcdef") == MARK + MARK


@pytest.mark.requirement("safety:redaction-values")
def test_a_secret_that_is_a_number_is_hidden_as_one() -> None:
    redactor = Redactor(["123456789"])
    assert redactor.hide_data({"a": [123456789, 12345, True, None, 1.5]}) == {"a": [MARK, 12345, True, None, 1.5]}


@pytest.mark.requirement("safety:redaction-values")
def test_the_mark_itself_is_hidden_by_nobody() -> None:
    redactor = Redactor(["REDACTED", "hunter22"])
    assert redactor.hide(redactor.hide("hunter22")) == MARK


@pytest.mark.requirement("safety:redaction-patterns")
@pytest.mark.parametrize("scheme", ["Token", "ApiKey", "Api-Key", "Basic"])
def test_what_follows_a_scheme_is_marked_and_not_the_scheme(scheme: str) -> None:
    assert Redactor().clean(f"Authorization: {scheme} abcdef123456") == f"Authorization: {scheme} {MARK}"
