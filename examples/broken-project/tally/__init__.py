"""Plain-text time sheets in, a month's invoice out."""

from tally.invoice import Invoice, Line, month_invoice, render_invoice
from tally.sheet import Entry, SheetError, parse_sheet

__all__ = ("Entry", "Invoice", "Line", "SheetError", "month_invoice", "parse_sheet", "render_invoice")
