"""Ways out of a sandbox, tried from inside and judged from the host; and ordinary work, which must go on in there.

An attempt counts only if it works where there is no sandbox: what is refused there too says nothing about one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest
from tests.security.escapes.board import ROOTLESS, Board, Row, as_ordinary_user, lured, measured
from tests.security.escapes.catalogue import ATTEMPTS, HOST, PROXY
from tests.security.escapes.contenders import CANNOT, CONTENDERS, Absent
from tests.security.escapes.hosting import open_place
from tests.security.escapes.running import CONTROLS, Verdict, applicable, attack, without_sandbox
from tests.security.escapes.table import FOUND, PAGE, Found, condensed, page, render
from tests.security.escapes.workloads import WORKLOADS, Workload, lay_out, missing, perform

IS_ROOT = os.geteuid() == 0
FLOOR = 80
"""How many of the 89 attempts that are not made on the proxy work on this kind of machine without a sandbox."""


@pytest.fixture(scope="module")
def controls() -> dict[str, dict[str, Verdict]]:
    """What works without a sandbox, as root and as an ordinary user; only as we are where we are not root."""
    quick = [each for each in ATTEMPTS if not each.alone]
    found: dict[str, dict[str, Verdict]] = {}
    for name, uid in CONTROLS.items():
        if uid is None or IS_ROOT:
            attempts = ATTEMPTS if uid is None else quick
            found[name] = asyncio.run(attack(without_sandbox(uid), attempts, uid=uid))
    return found


@pytest.fixture(scope="module")
def naive() -> dict[str, bool]:
    """Which lures a naive reader swallows."""
    return asyncio.run(lured(None))


@pytest.fixture(scope="module")
def place() -> Generator[Path]:
    """A workspace for workloads."""
    with open_place() as folder:
        lay_out(folder)
        yield folder


def long(names: Sequence[str]) -> list[object]:
    """Marks the backends that take minutes: they are set against everything in the campaign."""
    wanted = "HOLDFAST_CAMPAIGN" in os.environ
    skip = pytest.mark.skipif(not wanted, reason="takes minutes: make campaign runs it")
    return [pytest.param(name, marks=() if name == "native" else skip) for name in names]


def cannot(reason: str) -> NoReturn:
    """Skips, but not where everything is meant to be there."""
    if os.environ.get("CI") and IS_ROOT:
        pytest.fail(f"this machine is to run every backend: {reason}")
    pytest.skip(reason)


@pytest.mark.requirement("sandbox:escapes-named")
def test_every_attempt_of_the_list_is_here_once() -> None:
    names = [each.name for each in ATTEMPTS] + [*HOST, *PROXY]
    assert len(names) == len(set(names)) == 104


@pytest.mark.requirement("sandbox:escapes-work-without-a-sandbox")
def test_the_attempts_work_where_nothing_stops_them(
    controls: dict[str, dict[str, Verdict]], naive: dict[str, bool]
) -> None:
    works = applicable(controls)
    words = {
        each.name: [control[each.name].evidence for control in controls.values() if each.name in control]
        for each in ATTEMPTS
        if each.name not in works
    }
    assert [name for name, bitten in naive.items() if not bitten] == [], "a lure that nobody swallows proves nothing"
    if IS_ROOT:
        assert len(works) + len(naive) >= FLOOR, f"these say nothing about a sandbox: {words}"


@pytest.mark.requirement("sandbox:escapes-work-without-a-sandbox")
async def test_an_attempt_that_needs_what_is_missing_inside_does_not_count_as_refused() -> None:
    start = (
        "import sys, runpy; sys.modules['ctypes'] = None; "
        "sys.argv[:1] = []; runpy.run_path(sys.argv[0], {}, '__main__')"
    )
    plain = without_sandbox()

    async def run(argv: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float) -> tuple[int, str]:  # noqa: ASYNC109 - a runner's
        at = argv.index("attempts/making.py")
        return await plain((*argv[:at], "-c", start, *argv[at:]), cwd, env, timeout)

    names = ("read_outside_abs", "bpf", "process_vm_readv", "host_loopback_tcp")
    found = await attack(run, [each for each in ATTEMPTS if each.name in names])
    assert {name: (verdict.tried, verdict.worked) for name, verdict in found.items()} == {
        "read_outside_abs": (True, True),
        "bpf": (False, False),
        "process_vm_readv": (False, False),
        "host_loopback_tcp": (True, True),
    }


def report(row: Row, works: Mapping[str, object]) -> None:
    """Asserts that what worked is what the posture lists, and nothing else, and that everything ordinary works."""
    assert row.posture is not None
    got = {name for name, verdict in row.attempts.items() if verdict.worked}
    got |= {name for name, bitten in row.lures.items() if bitten}
    told = {name for name in row.posture.open if name in works or name in row.lures}
    unlisted = got - set(row.posture.open)
    evidence = {name: row.attempts[name].evidence for name in unlisted if name in row.attempts}
    assert sorted(unlisted) == [], f"ways out that the posture does not list: {evidence}"
    assert sorted(told - got) == [], "the posture lists as open what is closed"
    refused = CANNOT.get(row.posture.backend, frozenset())
    assert {name: text for name, text in row.workloads.items() if name not in refused} == {}
    assert refused <= row.workloads.keys(), "a backend does what it is said to refuse"


@pytest.mark.requirement("sandbox:escapes-refused", "sandbox:escapes-utility")
@pytest.mark.parametrize("name", long(CONTENDERS))
async def test_a_backend_lets_nothing_through_but_what_its_posture_lists_and_lets_work_go_on(
    name: str, controls: dict[str, dict[str, Verdict]]
) -> None:
    try:
        row = await measured(name)
    except Absent as error:
        cannot(str(error))
    report(row, applicable(controls))


@pytest.mark.requirement("sandbox:escapes-refused", "sandbox:escapes-utility")
@pytest.mark.skipif(not IS_ROOT, reason="the other test is that already")
@pytest.mark.parametrize("name", long(ROOTLESS))
def test_a_backend_that_an_ordinary_user_starts_keeps_the_same_promise(
    name: str, controls: dict[str, dict[str, Verdict]]
) -> None:
    try:
        row = as_ordinary_user(name)
    except Absent as error:
        cannot(str(error))
    report(row, applicable(controls))


@pytest.mark.requirement("sandbox:escapes-utility")
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda each: each.name)
async def test_a_workload_does_without_a_sandbox_what_it_is_to_do_in_one(workload: Workload, place: Path) -> None:
    if absent := missing(workload):
        if os.environ.get("CI"):
            pytest.fail(f"this machine is to have every program: {absent}")
        pytest.skip(f"{', '.join(absent)} is not installed")
    assert await perform(without_sandbox(), place, workload) == workload.expected


@pytest.mark.requirement("sandbox:escapes-table")
def test_the_table_says_what_worked_what_did_not_and_what_says_nothing() -> None:
    def row(*worked: str) -> Row:
        attempts = {each.name: Verdict(each.name, each.name in worked, True, "") for each in ATTEMPTS}
        return Row(attempts, {}, {name: name in worked for name in HOST})

    board = Board({"none": row("bpf", "output_flood")}, {"native": row("bpf")}, {"gvisor": "no runsc\nhere"})
    lines = render(condensed(board)).splitlines()
    assert "|  | **attempts that worked** | 2 of 2 | 1 of 2 |" in lines
    assert "|  | **workloads that work** | 40 of 40 | 40 of 40 |" in lines
    assert "| proc | `bpf` | open | open |" in lines
    assert "| host | `output_flood` | open |  |" in lines
    assert "| proc | `iopl` | - | - |" in lines
    assert "- gvisor: no runsc" in page(condensed(board)).splitlines()


@pytest.mark.requirement("sandbox:escapes-table")
def test_the_page_is_what_was_found_names_every_attempt_and_nothing_is_open_that_no_posture_lists() -> None:
    found = msgspec.json.decode(FOUND.read_bytes(), type=Found)
    text = PAGE.read_text("utf-8")
    assert text == page(found), "run `python -m tests.security.escapes.table`"
    names = [each.name for each in ATTEMPTS] + [*HOST, *PROXY]
    assert [name for name in names if f"`{name}`" not in text] == []
    columns = {*CONTENDERS, *(f"{name}, rootless" for name in ROOTLESS)}
    assert columns == found.backends.keys() | found.absent.keys(), "set every backend against them: `make escapes`"
    unlisted = {name: {*each.worked} - {*each.listed} for name, each in found.backends.items()}
    assert {name: ways for name, ways in unlisted.items() if ways} == {}
    assert found.backends["native"].worked == ()
    broken = {name: {*each.broken} for name, each in found.backends.items() if each.broken}
    assert all(ways <= CANNOT.get(name.partition(",")[0], frozenset()) for name, ways in broken.items()), broken
