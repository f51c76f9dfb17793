"""Every adapter of the journal passes the one kit; the racing checks open SQLite's file twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.flow.clock import Clock
from holdfast.journal.port import Journal
from holdfast.journal.stores.memory import MemoryJournal
from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.testing.conformance import journal as kit
from holdfast.testing.conformance import journal_appending as appending
from holdfast.testing.conformance import journal_erasing as erasing
from holdfast.testing.conformance import journal_owning as owning
from holdfast.testing.conformance import journal_posting as posting
from holdfast.testing.conformance import journal_racing as racing
from holdfast.testing.conformance import journal_reading as reading

CHECKS = (
    pytest.param(
        owning.a_claim_creates_the_stream_and_makes_the_worker_its_owner,
        marks=pytest.mark.requirement("journal:claim-raises-epoch", "journal:head-row"),
    ),
    pytest.param(owning.a_claim_returns_the_unread_mail_oldest_first),
    pytest.param(
        owning.a_live_lease_is_not_given_away, marks=pytest.mark.requirement("journal:claim-refused-while-leased")
    ),
    pytest.param(owning.a_lease_that_ran_out_is_free, marks=pytest.mark.requirement("journal:claim-after-lease")),
    pytest.param(
        owning.a_worker_that_came_back_claims_under_its_old_name,
        marks=pytest.mark.requirement("journal:claim-by-the-same-worker"),
    ),
    pytest.param(
        owning.a_dead_owner_is_replaced_by_naming_its_epoch,
        marks=pytest.mark.requirement("journal:claim-over-dead-owner"),
    ),
    pytest.param(
        owning.an_older_owner_is_fenced_and_changes_nothing,
        marks=pytest.mark.requirement("journal:claim-fences-older-owner"),
    ),
    pytest.param(owning.a_stream_without_an_owner_takes_no_append),
    pytest.param(owning.an_owner_whose_lease_ran_out_goes_on_until_somebody_claims),
    pytest.param(
        owning.of_many_claims_at_once_one_wins, marks=pytest.mark.requirement("journal:claim-race-one-winner")
    ),
    pytest.param(owning.a_lease_is_renewed_from_now, marks=pytest.mark.requirement("journal:lease-renewed")),
    pytest.param(owning.a_renewal_tells_which_streams_are_lost, marks=pytest.mark.requirement("journal:lease-renewed")),
    pytest.param(
        owning.a_release_frees_the_stream_and_writes_nothing, marks=pytest.mark.requirement("journal:lease-release")
    ),
    pytest.param(owning.a_late_release_takes_nothing_from_the_next_owner),
    pytest.param(
        appending.an_append_adds_records_and_returns_the_new_head,
        marks=pytest.mark.requirement("journal:append-in-sequence", "journal:head-row"),
    ),
    pytest.param(appending.records_come_back_byte_for_byte),
    pytest.param(appending.an_append_may_be_empty),
    pytest.param(
        appending.the_same_batch_again_writes_nothing, marks=pytest.mark.requirement("journal:append-lost-answer")
    ),
    pytest.param(
        appending.a_parking_batch_again_writes_nothing, marks=pytest.mark.requirement("journal:append-lost-answer")
    ),
    pytest.param(
        appending.a_wrong_number_is_corrupt_and_changes_nothing,
        marks=pytest.mark.requirement("journal:append-wrong-sequence"),
    ),
    pytest.param(
        appending.a_batch_is_written_whole_or_not_at_all, marks=pytest.mark.requirement("journal:append-atomic")
    ),
    pytest.param(
        appending.mail_is_taken_together_with_its_effect,
        marks=pytest.mark.requirement("journal:append-with-mail-taken"),
    ),
    pytest.param(
        appending.a_park_gives_the_stream_up_with_its_records, marks=pytest.mark.requirement("journal:park-wake-at")
    ),
    pytest.param(
        appending.a_park_with_unread_mail_writes_nothing, marks=pytest.mark.requirement("journal:park-unread")
    ),
    pytest.param(
        posting.a_post_creates_the_stream_and_waits_in_order,
        marks=pytest.mark.requirement("journal:post-accepted", "journal:post-creates-stream"),
    ),
    pytest.param(
        posting.a_post_does_not_disturb_the_owner, marks=pytest.mark.requirement("journal:post-never-conflicts")
    ),
    pytest.param(
        posting.posts_at_once_are_each_one_message, marks=pytest.mark.requirement("journal:post-never-conflicts")
    ),
    pytest.param(posting.a_key_is_never_accepted_twice, marks=pytest.mark.requirement("journal:post-duplicate")),
    pytest.param(posting.a_stream_that_is_new_is_nobody_elses, marks=pytest.mark.requirement("journal:post-new")),
    pytest.param(posting.a_key_has_a_bound, marks=pytest.mark.requirement("journal:post-key-bounded")),
    pytest.param(
        posting.the_inbox_is_bounded,
        marks=pytest.mark.requirement("journal:post-full", "journal:post-room-after-taking"),
    ),
    pytest.param(posting.a_post_may_ask_for_an_idle_stream, marks=pytest.mark.requirement("journal:post-busy-if-idle")),
    pytest.param(
        posting.of_posts_that_want_an_idle_stream_one_is_accepted,
        marks=pytest.mark.requirement("journal:post-busy-if-idle"),
    ),
    pytest.param(
        posting.the_sweep_finds_exactly_what_wants_an_owner,
        marks=pytest.mark.requirement("journal:sweep-finds-work"),
    ),
    pytest.param(posting.a_parked_stream_wakes_in_time, marks=pytest.mark.requirement("journal:park-wake-at")),
    pytest.param(posting.the_sweep_needs_no_hint, marks=pytest.mark.requirement("journal:sweep-without-hints")),
    pytest.param(
        posting.a_listener_is_hinted_by_this_process, marks=pytest.mark.requirement("journal:listener-hinted")
    ),
    pytest.param(posting.a_listener_is_hinted_by_others_soon, marks=pytest.mark.requirement("journal:listener-hinted")),
    pytest.param(
        reading.a_stream_is_read_from_a_number_on, marks=pytest.mark.requirement("journal:read-from-sequence")
    ),
    pytest.param(reading.ten_thousand_records_are_read),
    pytest.param(reading.heads_are_listed_by_tenant_and_page, marks=pytest.mark.requirement("journal:heads-by-tenant")),
    pytest.param(reading.tenants_do_not_meet, marks=pytest.mark.requirement("journal:tenant-in-every-key")),
    pytest.param(reading.a_fork_shares_its_parents_records, marks=pytest.mark.requirement("journal:fork-reads-prefix")),
    pytest.param(
        reading.a_fork_copies_nothing,
        marks=pytest.mark.requirement("journal:fork-constant-cost", "journal:feed-forks-once"),
    ),
    pytest.param(reading.forks_of_forks_read_through, marks=pytest.mark.requirement("journal:fork-reads-prefix")),
    pytest.param(
        reading.a_hundred_forks_deep_is_read_in_order,
        marks=pytest.mark.requirement("journal:fork-depth-one-hundred"),
    ),
    pytest.param(
        reading.a_fork_that_cannot_be_is_refused, marks=pytest.mark.requirement("journal:fork-beyond-the-end")
    ),
    pytest.param(reading.the_feed_follows_commit_order, marks=pytest.mark.requirement("journal:feed-commit-order")),
    pytest.param(
        reading.the_feed_is_narrowed_to_types_and_tenant, marks=pytest.mark.requirement("journal:feed-filters")
    ),
    pytest.param(
        reading.a_projection_misses_nothing_while_others_write,
        marks=pytest.mark.requirement("journal:feed-rebuild", "journal:feed-no-gap-under-writes"),
    ),
    pytest.param(
        erasing.a_deleted_stream_is_gone_with_all_it_had, marks=pytest.mark.requirement("journal:delete-stream")
    ),
    pytest.param(erasing.only_the_owner_deletes_and_scrubs, marks=pytest.mark.requirement("journal:delete-owner-only")),
    pytest.param(erasing.a_name_is_free_after_a_deletion, marks=pytest.mark.requirement("journal:delete-frees-name")),
    pytest.param(
        erasing.an_epoch_of_a_deleted_stream_is_never_given_out_again,
        marks=pytest.mark.requirement("names:epochs-never-again"),
    ),
    pytest.param(
        erasing.what_forks_share_stays_until_the_last_is_deleted,
        marks=pytest.mark.requirement("journal:delete-stream"),
    ),
    pytest.param(
        erasing.positions_are_never_given_out_again, marks=pytest.mark.requirement("journal:delete-keeps-positions")
    ),
    pytest.param(
        erasing.a_scrubbed_record_keeps_its_place, marks=pytest.mark.requirement("journal:scrub-keeps-sequence")
    ),
    pytest.param(erasing.a_scrub_is_whole_or_refused),
    pytest.param(erasing.a_scrub_reaches_every_fork, marks=pytest.mark.requirement("journal:scrub-reaches-forks")),
    pytest.param(erasing.a_scrub_brings_content_along),
    pytest.param(
        erasing.mail_that_was_taken_keeps_its_key_alone, marks=pytest.mark.requirement("journal:taken-mail-emptied")
    ),
    pytest.param(erasing.what_nothing_names_is_discarded, marks=pytest.mark.requirement("journal:discard-unnamed")),
    pytest.param(
        racing.two_claimants_leave_one_sequence,
        marks=pytest.mark.requirement("journal:claimants-two-times-ten-thousand"),
    ),
    pytest.param(racing.mail_is_never_stranded_by_a_park, marks=pytest.mark.requirement("journal:park-post-race")),
    pytest.param(
        racing.closing_finishes_what_was_asked_for, marks=pytest.mark.requirement("storage:close-finishes-writes")
    ),
)


@pytest.fixture(params=["memory", "sqlite", "sqlite-twice"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[kit.Make]:
    """Opens the store under test: `sqlite` for all callers once, `sqlite-twice` anew for each, as a process would."""
    opened: list[Journal] = []

    async def open_one(clock: Clock) -> Journal:
        if request.param == "sqlite-twice" or not opened or is_closed(opened[-1]):
            memory = request.param == "memory"
            opened.append(MemoryJournal(clock) if memory else await SqliteJournal.open(tmp_path / "j.db", clock=clock))
        return opened[-1]

    yield open_one
    for journal in opened:
        await journal.close()


def is_closed(journal: Journal) -> bool:
    return isinstance(journal, SqliteJournal) and journal._database._closed


@pytest.mark.requirement("journal:stores-agree")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_journal(check: kit.Check, make: kit.Make) -> None:
    await check(make)


def test_no_check_of_the_kit_is_left_out() -> None:
    assert [parameter.values[0] for parameter in CHECKS] == list(kit.CHECKS)
