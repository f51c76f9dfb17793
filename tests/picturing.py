"""The pictures of the console in the guide: `python -m tests.picturing` takes them anew, from a job that is played.

Takes a folder to write all of them into, wide and narrow, dark and light; without one, the guide's few go to
`docs/images/`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect
from tests.consoling import Watched, browser, staged

from holdfast.testing import Call, Turn
from holdfast.testing.faults import Hang
from holdfast.testing.scripts import ScriptRequest, Tokens

IMAGES = Path(__file__).resolve().parents[1] / "docs/images"
JOB = "The invoices are off by a cent. Find out why, mend it, and run the tests."
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
_INVOICE = """\
from decimal import Decimal


def total(lines):
    \"\"\"Returns what is to be paid, tax included.\"\"\"
    amount = 0.0
    for line in lines:
        amount += round(line["price"] * 1.19, 2) * line["count"]
    return round(amount, 2)
"""
_TESTS = """\
import unittest
from decimal import Decimal

from invoice import total


class Totals(unittest.TestCase):
    def test_tax_is_rounded_once(self):
        self.assertEqual(total([{"price": "0.99", "count": 7}]), Decimal("8.25"))
"""
_EDITS = [
    {"oldText": "    amount = 0.0\n", "newText": '    amount = Decimal("0")\n'},
    {
        "oldText": '        amount += round(line["price"] * 1.19, 2) * line["count"]\n    return round(amount, 2)\n',
        "newText": '        amount += Decimal(line["price"]) * line["count"]\n'
        '    return (amount * Decimal("1.19")).quantize(Decimal("0.01"))\n',
    },
]
_ANSWER = """\
The totals were off because **tax was rounded line by line**, and in binary floats.

| | before | now |
|---|---:|---:|
| 7 at 0.99 € | 8.26 € | 8.25 € |

- `total` adds the net prices as `Decimal`, and rounds once, at the end.
- The test that failed passes; no other file was touched.
"""
_CALLS = (
    Call("write", {"path": "invoice.py", "content": _INVOICE}),
    Call("write", {"path": "test_invoice.py", "content": _TESTS}),
    Call("grep", {"pattern": "round\\("}),
    Call("edit", {"path": "invoice.py", "edits": _EDITS}),
    Call("bash", {"command": "python -m unittest -q"}),
)
_WORDS = (
    "First the code as I was given it.",
    "And its test.",
    "Where is it rounded?",
    "It is rounded for each line. Tax belongs on the sum, and money into `Decimal`.",
    "Now the tests.",
)


def script(request: ScriptRequest) -> Turn:
    """The model of the job; of other sessions it says a line or two."""
    used = Tokens(input_tokens=14_000 + 9_000 * request.answers, output_tokens=420)
    if request.first_user_text.startswith("Write"):
        text = (
            "# Release 4.2\n\n## What is new\n\n" + "- Orders are exported at night, and again when it failed.\n" * 30
        )
        return Turn(
            text, thinking="Which changes matter to whoever reads this?", fault=Hang(after_events=60), usage=used
        )
    if not request.first_user_text.startswith("The invoices"):
        return Turn("Done: nothing was found.", usage=used)
    if request.answers < len(_CALLS):
        thinking = "Seven times 0.99 is 6.93, and with tax 8.2467. They get 8.26." if request.answers == 3 else None
        return Turn(_WORDS[request.answers], calls=[_CALLS[request.answers]], thinking=thinking or "", usage=used)
    return Turn(_ANSWER, usage=used)


def start(page: Page, text: str, name: str, mode: str) -> None:
    """Starts a session."""
    page.goto("/console/new")
    page.get_by_label("Describe the job").fill(text)
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("What it may do").select_option(label=mode)
    page.get_by_label("Describe the job").press("Enter")
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def take(watched: Watched, shot: Callable[[Page, str], None], ending: str = "") -> None:
    """Does the job, in sessions whose names end so, and takes each screen on the way."""
    page = watched.page
    narrow = page.evaluate("innerWidth") < 760
    page.goto("/")
    expect(page.get_by_label("Name")).to_be_focused()
    shot(page, "login")
    watched.log_in()
    for text in ("Which orders of May are without an invoice?", "Is anything in the log of last night worth a look?"):
        start(page, text, text.split()[1] + ending, "Read only")
        expect(page.locator(".end")).to_contain_text("Done")
    start(page, "Write the notes of the release.", f"notes{ending}", "Ask nothing")
    expect(page.locator(".now .text")).to_contain_text("Orders are exported")
    shot(page, "live")
    page.goto("/console/new")
    expect(page.get_by_text("Tools")).to_be_visible()
    shot(page, "new")
    start(page, JOB, f"invoices{ending}", "Ask before changes")
    for done in (1, 2):
        page.get_by_label("Allow this call? write").get_by_role("button", name="Approve").click()
        expect(page.get_by_role("region", name="write, done")).to_have_count(done)
    expect(page.get_by_label("Allow this call? edit")).to_be_visible()
    shot(page, "gate")
    page.get_by_label("Allow this call? edit").get_by_role("button", name="Approve").click()
    page.get_by_label("Allow this call? bash").get_by_role("button", name="Approve").click()
    expect(page.locator(".end")).to_contain_text("Done")
    shot(page, "done")
    _beside(page, shot, narrow=narrow)
    if narrow:
        page.get_by_role("link", name="All sessions").click()
        expect(page.get_by_role("navigation", name="Sessions")).to_be_visible()
        shot(page, "sessions")


def _beside(page: Page, shot: Callable[[Page, str], None], *, narrow: bool) -> None:
    page.get_by_role("button", name="Timeline", exact=True).click()
    page.get_by_label("Find events").fill("tool.finished")
    page.get_by_role("option").last.click()
    shot(page, "timeline")
    page.get_by_role("button", name="Files", exact=True).click()
    changes = page.get_by_role("complementary", name="Timeline and files")
    page.get_by_role("button", name="All", exact=True).click()
    expect(changes.locator("tr.plus").first).to_be_visible()
    shot(page, "files")
    if not narrow:
        page.get_by_role("region", name="edit, done").get_by_role("button", name="Files it changed").click()
        expect(changes.locator("tr.minus").first).to_be_visible()
        shot(page, "change")


def main(into: Path | None) -> None:
    """Takes the pictures, each way of looking at a server of its own."""
    with browser() as found:
        for looks, size in ((looks, size) for looks in ("dark", "light") for size in (WIDE, NARROW)):
            ending = f"{looks}-{size['width']}"
            if into is None and not any(name.endswith(ending) for name in GUIDE):
                continue

            def shot(page: Page, name: str, ending: str = ending) -> None:
                page.evaluate("document.fonts.ready")
                whole = f"{name}-{ending}"
                if into is not None:
                    page.screenshot(path=into / f"{whole}.png")
                elif whole in GUIDE:
                    page.screenshot(path=IMAGES / f"{GUIDE[whole]}.png")

            with tempfile.TemporaryDirectory() as home, staged(Path(home), script) as stage:
                scale = 2 if size is NARROW else 1
                watched = Watched(found, stage.url, viewport=size, color_scheme=looks, device_scale_factor=scale)
                take(watched, shot)
                watched.close()


GUIDE = {
    "gate-dark-1440": "console-gate",
    "change-light-1440": "console-files",
    "done-dark-390": "console-phone",
}
"""What the guide shows, and under which name."""

if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
