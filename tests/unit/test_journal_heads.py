"""The rules of a stream's head that are said twice have to say the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.journal.port import Head, Lease
from holdfast.journal.stores.heads import claimed, created, opened, posted
from holdfast.types import StreamId, WorkerId

STREAM = StreamId("local/s")
moments = st.integers(min_value=0, max_value=2**53)


@pytest.mark.requirement("journal:post-creates-stream")
@given(now=moments, epoch=st.integers(min_value=0, max_value=2**31), ttl=st.none() | moments)
def test_a_stream_made_for_its_first_message_is_as_one_made_posted_to_and_claimed(
    now: int, epoch: int, ttl: int | None
) -> None:
    lease = None if ttl is None else Lease(WorkerId("ann"), ttl)
    head = posted(created(STREAM, now, epoch), if_idle=True, urgent=False, now=now)
    assert isinstance(head, Head)
    if lease is not None:
        head = claimed(head, lease.worker, lease.ttl, None, now)
    assert opened(STREAM, now, epoch, lease) == head
