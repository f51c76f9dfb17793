"""Every ledger passes the one kit; `sqlite-twice` opens the file anew for each caller, as another process would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.flow.clock import Clock
from holdfast.ledger.port import Ledger
from holdfast.ledger.stores.memory import MemoryLedger
from holdfast.ledger.stores.sqlite import LEDGER, SqliteLedger
from holdfast.storage.sqlite import Database
from holdfast.testing.conformance import ledger as kit
from holdfast.testing.conformance import ledger_settling as settling

PROVEN: dict[kit.Check, pytest.MarkDecorator] = {
    kit.a_cap_anywhere_on_the_path_bounds_all_below_it: pytest.mark.requirement("ledger:grants-below-cap"),
    kit.as_much_as_fits_is_granted_where_less_will_do: pytest.mark.requirement("ledger:partial-grant"),
    kit.a_key_gives_the_same_grant_again: pytest.mark.requirement("ledger:grant-idempotent"),
    kit.the_same_key_at_once_is_one_grant: pytest.mark.requirement("ledger:grant-idempotent"),
    settling.the_first_settlement_counts: pytest.mark.requirement("ledger:first-settlement-counts"),
    settling.what_is_over_the_grant_is_charged_in_full: pytest.mark.requirement("ledger:excess-charged"),
    kit.an_open_grant_grows_by_the_same_rule: pytest.mark.requirement("ledger:grant-grows"),
    settling.an_open_grant_shrinks_and_the_rest_is_free: pytest.mark.requirement("ledger:grant-shrinks"),
    settling.what_was_settled_long_ago_is_forgotten_one_by_one_and_remembered_in_sum: pytest.mark.requirement(
        "ledger:settled-grants-forgotten"
    ),
    settling.a_window_reaches_as_far_back_as_settled_grants_are_known: pytest.mark.requirement(
        "ledger:settled-grants-forgotten"
    ),
    settling.an_account_begins_anew_and_those_above_and_below_stay: pytest.mark.requirement(
        "names:session-accounts-begin-anew"
    ),
    kit.what_leaves_the_window_is_free_again: pytest.mark.requirement("ledger:rolling-window-seven-days"),
    kit.what_waiting_does_not_help_has_no_time: pytest.mark.requirement("ledger:denial-says-when"),
    kit.one_account_has_several_caps: pytest.mark.requirement("ledger:several-caps"),
    kit.what_was_spent_before_a_cap_was_set_counts: pytest.mark.requirement("ledger:caps-changed"),
    kit.a_window_that_is_new_stands_as_if_it_had_always_been_there: pytest.mark.requirement("ledger:caps-changed"),
    kit.open_grants_are_found_by_their_path: pytest.mark.requirement("ledger:open-grants-listed"),
    kit.what_is_no_number_is_refused: pytest.mark.requirement("ledger:refuses-not-numbers"),
    kit.many_at_once_get_exactly_what_the_cap_admits: pytest.mark.requirement("ledger:concurrent-commits-exact"),
}


@pytest.fixture(params=["memory", "sqlite", "sqlite-twice"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[kit.Make]:
    """Opens the ledger under test."""
    memory: list[Ledger] = []
    opened: list[Database] = []

    async def open_one(clock: Clock) -> Ledger:
        if request.param == "memory":
            memory.append(memory[0] if memory else MemoryLedger(clock))
            return memory[0]
        if request.param == "sqlite-twice" or not opened:
            opened.append(await Database.open(str(tmp_path / "l.db"), (LEDGER,)))
        return SqliteLedger(opened[-1], clock)

    yield open_one
    for database in opened:
        await database.close()


@pytest.mark.requirement("ledger:stores-agree")
@pytest.mark.parametrize(
    "check", [pytest.param(check, marks=PROVEN.get(check, ()), id=check.__name__) for check in kit.CHECKS]
)
async def test_ledger(check: kit.Check, make: kit.Make) -> None:
    await check(make)
