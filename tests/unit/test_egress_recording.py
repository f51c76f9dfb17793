"""The record of what was decided: bounded, and with every decision in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.sandbox.egress.answers import Decided, Verdict
from holdfast.sandbox.egress.recording import Record
from holdfast.sandbox.native.boxes.outlet import Outlet
from holdfast.sandbox.policy.openshell import Policy

DENIED = Decided(verdict="denied", layer="request", reason="no", host="a.example", port=443, path="/x", method="GET")
MATTERS = Decided(verdict="allowed", layer="credential", reason="filled in", host="b.example", credentials=("KEY",))


class Clock:
    """Counts how often it is read."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.mark.requirement("sandbox:egress-record-bounded")
def test_equal_denials_are_one_row_that_says_how_many_and_when() -> None:
    record = Record(10, Clock())
    for pid in range(1000):
        record.add(replace(DENIED, pid=pid))
    record.add(MATTERS)
    noise, kept = record.take()
    assert (noise.count, noise.first, noise.last) == (1000, 1.0, 1000.0)
    assert kept == replace(MATTERS, first=1001.0, last=1001.0)
    assert record.take() == ()


@pytest.mark.requirement("sandbox:egress-record-bounded")
@pytest.mark.parametrize("verdict", ["denied", "allowed"])
def test_noise_of_any_kind_neither_hides_the_newest_nor_goes_uncounted(verdict: Verdict) -> None:
    record, made = Record(50, Clock()), 5000
    for number in range(made):
        record.add(replace(DENIED, verdict=verdict, path=f"/{number}", reason=f"about /{number}"))
    record.add(replace(MATTERS, verdict=verdict))
    rows = record.take()
    assert sum(each.count for each in rows) == made + 1
    assert replace(MATTERS, verdict=verdict, first=made + 1.0, last=made + 1.0) in rows
    assert len(rows) < 200
    (merged,) = [each for each in rows if each.count > 1]
    assert (merged.host, merged.port, merged.method, merged.path) == ("a.example", 443, "GET", "")
    assert f"{merged.count:,} like this" in merged.reason


@pytest.mark.requirement("sandbox:egress-record-bounded")
def test_many_places_and_long_texts_stay_within_bounds_and_are_counted() -> None:
    record = Record(100, Clock())
    for number in range(3000):
        record.add(replace(DENIED, host=f"{number}.example", path="/" + "x" * 16_000, reason="y" * 16_000))
    rows = record.take()
    assert sum(each.count for each in rows) == 3000
    assert sum(len(each.path) + len(each.reason) for each in rows) < 4 * 1024**2
    (beyond,) = [each for each in rows if each.layer == "several"]
    assert f"{beyond.count:,} more" in beyond.reason


@pytest.mark.requirement("sandbox:egress-record-bounded")
def test_what_was_denied_takes_no_room_from_what_passed() -> None:
    outlet = Outlet(Policy())
    for number in range(20_000):
        outlet._note(replace(DENIED, path=f"/{number}"))
    outlet._note(MATTERS)
    for number in range(20_000):
        outlet._note(replace(DENIED, path=f"/{number}"))
    rows = outlet.take()
    assert sum(each.count for each in rows) == 40_001
    assert [replace(each, first=0.0, last=0.0) for each in rows if each.verdict == "allowed"] == [MATTERS]


ROWS = st.builds(
    Decided,
    verdict=st.sampled_from(["allowed", "denied", "audit"]),
    layer=st.sampled_from(["connection", "request"]),
    reason=st.sampled_from(["a", "b"]),
    host=st.sampled_from(["x", "y"]),
    path=st.sampled_from(["/1", "/2", "/3"]),
    pid=st.integers(0, 3),
)


@pytest.mark.requirement("sandbox:egress-record-bounded")
@given(st.lists(ROWS, max_size=300), st.integers(0, 5))
def test_each_decision_is_counted_once_under_its_verdict_and_host(added: list[Decided], most: int) -> None:
    record = Record(most, Clock())
    for each in added:
        record.add(each)
    rows = record.take()
    assert [each.first for each in rows] == sorted(each.first for each in rows)
    for verdict in ("allowed", "denied", "audit"):
        for host in ("x", "y"):
            wanted = sum((each.verdict, each.host) == (verdict, host) for each in added)
            assert sum(each.count for each in rows if (each.verdict, each.host) == (verdict, host)) == wanted
