"""The sheet's lines, and the choice of a period."""

from datetime import date

import pytest

from tally.sheet import Entry, SheetError, between, parse_sheet


def test_a_line_is_a_day_a_time_a_client_and_a_note() -> None:
    assert parse_sheet("2026-03-03  2h45m  acme  data model") == [
        Entry(day=date(2026, 3, 3), client="acme", seconds=9900, note="data model")
    ]


def test_a_tilde_marks_work_that_is_not_billed() -> None:
    (entry,) = parse_sheet("2026-03-03  30m  ~acme")
    assert (entry.client, entry.billable) == ("acme", False)


def test_a_period_leaves_out_the_days_around_it() -> None:
    entries = [Entry(day=date(2026, month, 10), client="acme", seconds=60) for month in (2, 3, 4)]
    assert between(entries, date(2026, 3, 1), date(2026, 3, 31)) == [entries[1]]


def test_an_unreadable_line_is_named() -> None:
    with pytest.raises(SheetError, match=r"line 3: not a duration: 'soon'"):
        parse_sheet("# March\n2026-03-03 1h acme\n2026-03-04 soon acme\n")
