"""A month's invoice from sheet to printed page."""

from decimal import Decimal

import pytest

from tally import month_invoice, parse_sheet, render_invoice

RATES = {"acme": Decimal("96.00"), "globex": Decimal("110.00")}

MARCH = """
# day       time         client   note
2026-02-27  3h           acme     offer, billed in February
2026-03-02  09:00-12:30  acme     kick-off
2026-03-03  2h45m        acme     data model
2026-03-05  1:44:50      acme     import, from the timer
2026-03-12  22:30-02:45  globex   cut-over
2026-03-31  13:00-15:45  globex   hand-over
2026-03-31  30m          ~globex  our own mistake, not billed
2026-04-01  2h           globex   support
"""


def test_timer_readings_add_up_before_they_are_rounded() -> None:
    sheet = "2026-03-09 0:19:55 acme\n2026-03-10 0:19:55 acme\n2026-03-11 0:19:55 acme\n"
    (line,) = month_invoice(parse_sheet(sheet), RATES, 2026, 3).lines
    assert line.amount == Decimal("96.00")
    assert line.hours == "1:00"


def test_the_march_invoice_matches_the_signed_sheet() -> None:
    invoice = month_invoice(parse_sheet(MARCH), RATES, 2026, 3)
    acme, globex = invoice.lines
    assert acme.hours == "8:00"
    assert globex.hours == "7:00"
    assert invoice.total == Decimal("1538.00")


def test_an_invoice_prints_a_line_a_client_and_the_total() -> None:
    sheet = "2026-03-04 1h30m globex\n2026-03-05 45m acme\n"
    assert render_invoice(month_invoice(parse_sheet(sheet), RATES, 2026, 3)).splitlines() == [
        "acme            0:45       72.00",
        "globex          1:30      165.00",
        "total                     237.00",
    ]


def test_a_client_without_a_rate_is_named() -> None:
    with pytest.raises(LookupError, match="no rate for client 'initech'"):
        month_invoice(parse_sheet("2026-03-04 1h initech"), RATES, 2026, 3)
