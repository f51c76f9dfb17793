"""Placeholders and the values behind them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UsageError
from holdfast.sandbox.egress.credentials import Credential, Mask, Misplaced, Placeholders
from holdfast.sandbox.egress.parsing.authorities import Authority

KEY = Credential(key="KEY", value="secret-value", hosts=("a.example", "b.example:8443"), header="x-api-key")


@pytest.mark.requirement("sandbox:egress-credentials")
def test_a_credential_goes_to_its_hosts_in_its_header() -> None:
    held = Placeholders([KEY])
    fields = [("X-Api-Key", "openshell:resolve:env:KEY"), ("Accept", "x")]
    for to in (Authority("a.example", 443), Authority("a.example", 1), Authority("b.example", 8443)):
        filled = held.fill(fields, to, secure=True)
        assert filled.fields == [("X-Api-Key", "secret-value"), ("Accept", "x")]
        assert (filled.keys, "secret" in repr(filled)) == (("KEY",), False)
    for to in (Authority("b.example", 443), Authority("c.example", 443), Authority("x.a.example", 443)):
        with pytest.raises(Misplaced, match="not for"):
            held.fill(fields, to, secure=True)
    with pytest.raises(Misplaced, match="'x-api-key' only"):
        held.fill([("Authorization", f"Bearer {held.of('KEY')}")], Authority("a.example", 443), secure=True)
    with pytest.raises(Misplaced, match="no credential 'KEYS'"):
        held.fill([("X-Api-Key", "openshell:resolve:env:KEYS")], Authority("a.example", 443), secure=True)


def test_the_placeholder_of_one_sandbox_means_nothing_in_another() -> None:
    one, other = Placeholders([KEY]), Placeholders([KEY])
    assert one.of("KEY") != other.of("KEY")
    text = [("X-Api-Key", one.of("KEY"))]
    assert other.fill(text, Authority("a.example", 443), secure=True).fields == text
    with pytest.raises(UsageError, match="no credential 'NONE'"):
        one.of("NONE")


@pytest.mark.parametrize(
    "change", [{"key": "a-b"}, {"value": ""}, {"value": "a\r\nb"}, {"value": "\u00fc"}, {"value": " qx"}]
)
def test_a_credential_that_cannot_be_sent_is_refused_without_showing_it(change: dict[str, str]) -> None:
    with pytest.raises(UsageError) as refused:
        Credential(**{"key": "KEY", "value": "v", "hosts": ("a",), **change})  # type: ignore[arg-type]
    assert not change.get("value") or change["value"] not in str(refused.value)


@pytest.mark.requirement("sandbox:egress-credentials")
@given(
    st.lists(st.sampled_from([b"secret-value", b"secret", b"-value", b"s", b"secret-valu", b"x", b"other-secret!"])),
    st.data(),
)
def test_a_value_is_blotted_however_the_bytes_are_cut(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    mask, done, at = Mask([b"secret-value", b"other-secret!", b"short"]), b"", 0
    while at < len(whole):
        size = data.draw(st.integers(1, len(whole) - at))
        done += mask.feed(whole[at : at + size])
        at += size
    done += mask.end()
    assert done == whole.replace(b"other-secret!", b"*" * 13).replace(b"secret-value", b"*" * 12)
