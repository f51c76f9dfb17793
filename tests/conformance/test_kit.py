"""The kit itself: a store from outside passes it without any test framework, and a store with a fault does not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast.flow.clock import Clock
from holdfast.journal.port import Head, Journal, Posted, Unread
from holdfast.journal.stores.memory import MemoryJournal
from holdfast.testing.conformance.journal import CHECKS
from holdfast.types import BatchId

OUTSIDE = """
import asyncio, sys
from holdfast.journal.stores.memory import MemoryJournal
from holdfast.testing.conformance.journal import CHECKS

class Outside:
    "A store of somebody else's, which only hands on."
    def __init__(self, clock): self._inner = MemoryJournal(clock)
    def __getattr__(self, name): return getattr(self._inner, name)

async def run():
    for check in CHECKS:
        store = []
        async def make(clock):
            if not store:
                store.append(Outside(clock))
            return store[0]
        await check(make)
    assert "pytest" not in sys.modules
    print(len(CHECKS))

asyncio.run(run())
"""


class Faulty:
    """A store that does one thing wrong."""

    def __init__(self, inner: Journal, name: str, wrong: Callable[..., Any]) -> None:
        self._inner = inner
        self._name = name
        self._wrong = wrong

    def __getattr__(self, name: str) -> Any:
        right = getattr(self._inner, name)
        if name != self._name:
            return right
        return lambda *arguments, **options: self._wrong(self._inner, *arguments, **options)


async def park_over_mail(inner: Journal, stream, epoch, seq, batch, records, *, taken=None, park=None):
    answer = await inner.append(stream, epoch, seq, batch, records, taken=taken, park=park)
    if isinstance(answer, Unread):
        answer = await inner.append(stream, epoch, seq, batch, records, taken=taken)
        await inner.release(stream, epoch)
    return answer


async def append_unfenced(inner: Journal, stream, epoch, seq, batch, records, **options):
    head = await inner.head(stream)
    return await inner.append(stream, head.epoch if head else epoch, seq, batch, records, **options)


async def append_twice(inner: Journal, stream, epoch, seq, batch, records, **options):
    head = await inner.head(stream)
    if head and head.last_batch == batch:
        batch, seq = BatchId(f"{batch}'"), head.seq
        records = [type(r)(seq + n, r.type, r.body) for n, r in enumerate(records, 1)]
    return await inner.append(stream, epoch, seq, batch, records, **options)


async def claim_anything(inner: Journal, stream, worker, ttl, *, over=None):
    head = await inner.head(stream)
    return await inner.claim(stream, worker, ttl, over=head.epoch if head else None)


async def post_again(inner: Journal, stream, letter, *, if_idle=False):
    posted = await inner.post(stream, letter, if_idle=if_idle)
    return Posted("accepted", posted.n) if posted.status == "duplicate" else posted


async def read_beyond(inner: Journal, stream, *, after=0, limit=1000):
    return await inner.read(stream, after=after, limit=limit + 1)


async def feed_behind(inner: Journal, **options):
    items = await inner.feed(**options)
    return items[:3] + items[4:]


async def nothing_due(inner: Journal, limit=100):
    return []


async def heads_of_all(inner: Journal, tenant, *, after="", limit=100) -> list[Head]:
    return [*await inner.heads(tenant, after=after, limit=limit), *await inner.heads(f"{tenant}e", limit=limit)]


async def claim_from_one_on(inner: Journal, stream, worker, ttl, *, over=None):
    claim = await inner.claim(stream, worker, ttl, over=over)
    return replace(claim, head=replace(claim.head, epoch=1)) if claim.head.epoch > 2 and not claim.head.seq else claim


def no_hint(inner: Journal, stream, hint) -> Callable[[], None]:
    return lambda: None


@pytest.mark.requirement("testing:store-kit-public")
def test_a_store_from_outside_runs_through_the_kit_without_pytest() -> None:
    ran = subprocess.run([sys.executable, "-c", OUTSIDE], check=True, capture_output=True, text=True, timeout=60)
    assert ran.stdout == f"{len(CHECKS)}\n"


@pytest.mark.requirement("testing:store-kit-public")
@pytest.mark.parametrize(
    ("name", "wrong", "caught_by"),
    [
        ("append", park_over_mail, "a_park_with_unread_mail_writes_nothing"),
        ("append", append_unfenced, "an_older_owner_is_fenced_and_changes_nothing"),
        ("append", append_unfenced, "two_claimants_leave_one_sequence"),
        ("append", append_twice, "the_same_batch_again_writes_nothing"),
        ("claim", claim_anything, "a_live_lease_is_not_given_away"),
        ("claim", claim_from_one_on, "an_epoch_of_a_deleted_stream_is_never_given_out_again"),
        ("post", post_again, "a_key_is_never_accepted_twice"),
        ("read", read_beyond, "a_stream_is_read_from_a_number_on"),
        ("feed", feed_behind, "the_feed_follows_commit_order"),
        ("feed", feed_behind, "a_projection_misses_nothing_while_others_write"),
        ("due", nothing_due, "mail_is_never_stranded_by_a_park"),
        ("heads", heads_of_all, "heads_are_listed_by_tenant_and_page"),
        ("listen", no_hint, "a_listener_is_hinted_by_this_process"),
    ],
)
async def test_a_fault_is_caught_in_words(name: str, wrong: Callable[..., Any], caught_by: str) -> None:
    stores: list[Any] = []

    async def make(clock: Clock) -> Any:
        if not stores:
            stores.append(Faulty(MemoryJournal(clock), name, wrong))
        return stores[0]

    check = next(check for check in CHECKS if check.__name__ == caught_by)
    with pytest.raises(Exception, match=r"\w+ \w+") as error:
        await asyncio.wait_for(check(make), 5)
    assert not isinstance(error.value, TimeoutError)
