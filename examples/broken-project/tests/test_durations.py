"""Durations: what is read, how it is rounded and printed."""

import pytest

from tally.durations import format_hours, parse_duration, parse_span


def test_a_duration_is_a_clock_reading_or_units() -> None:
    assert parse_duration("1:45") == 6300
    assert parse_duration("1:44:50") == 6290
    assert parse_duration("2h45m") == 9900
    assert parse_duration("90m") == 5400


def test_a_span_may_run_past_midnight() -> None:
    assert parse_span("09:00-12:30") == 12600
    assert parse_span("22:30-02:45") == 15300


def test_half_a_minute_counts_up() -> None:
    assert format_hours(5429) == "1:30"
    assert format_hours(5430) == "1:31"


def test_what_is_no_duration_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="not a duration: '1:75'"):
        parse_duration("1:75")
