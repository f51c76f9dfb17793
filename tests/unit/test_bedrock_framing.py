"""Frames of an event stream, whole, cut and damaged, as ours and botocore's parser read them."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import AnswerTooLarge, ProtocolError
from holdfast.models.wire.bedrock.framing import Frame, Frames, frame_of

LIMIT = 1 << 20


def raw(headers: bytes, payload: bytes) -> bytes:
    """Returns a frame whose headers are any bytes."""
    begin = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    begin += struct.pack("!I", zlib.crc32(begin)) + headers + payload
    return begin + struct.pack("!I", zlib.crc32(begin))


VALUES: dict[int, st.SearchStrategy[bytes]] = {
    0: st.just(b""),
    1: st.just(b""),
    2: st.binary(min_size=1, max_size=1),
    3: st.binary(min_size=2, max_size=2),
    4: st.binary(min_size=4, max_size=4),
    5: st.binary(min_size=8, max_size=8),
    6: st.binary(max_size=20).map(lambda data: struct.pack("!H", len(data)) + data),
    7: st.text(max_size=20).map(lambda text: struct.pack("!H", len(text.encode())) + text.encode()),
    8: st.binary(min_size=8, max_size=8),
    9: st.binary(min_size=16, max_size=16),
}


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    names = draw(st.lists(st.text(min_size=1, max_size=8), max_size=4, unique=True))
    headers = b""
    for name in names:
        kind = draw(st.sampled_from(list(VALUES)))
        headers += bytes((len(name.encode()),)) + name.encode() + bytes((kind,)) + draw(VALUES[kind])
    return raw(headers, draw(st.binary(max_size=60)))


def official(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(message.headers, message.payload) for message in buffer]


@pytest.mark.requirement("bedrock:frames-agree")
@given(st.lists(frames(), max_size=5), st.lists(st.integers(0, 10**4), max_size=8))
def test_frames_are_read_as_the_official_parser_reads_them_however_they_are_cut(
    all: list[bytes], places: list[int]
) -> None:
    whole = b"".join(all)
    cuts = sorted({place % (len(whole) + 1) for place in places})
    parser, read = Frames(LIMIT), list[Frame]()
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        read += parser.feed(whole[start:end])
    expected = [
        ({name: value for name, value in headers.items() if isinstance(value, str)}, payload)
        for headers, payload in official(whole)
    ]
    assert [(frame.headers, frame.payload) for frame in read] == expected


@pytest.mark.requirement("bedrock:frames-agree")
@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=40), max_size=5), st.binary(max_size=99))
def test_what_is_written_is_read_by_both(headers: dict[str, str], payload: bytes) -> None:
    data = frame_of(headers, payload)
    assert Frames(LIMIT).feed(data) == [Frame(headers, payload)]
    assert official(data) == [(headers, payload)]


@pytest.mark.requirement("bedrock:frames-checked")
@given(frames(), st.integers(0, 10**4), st.integers(1, 255))
def test_no_byte_can_be_changed_unnoticed(data: bytes, place: int, change: int) -> None:
    broken = bytearray(data)
    broken[place % len(data)] ^= change
    with pytest.raises(ProtocolError):
        Frames(LIMIT).feed(bytes(broken))


@pytest.mark.requirement("bedrock:frames-checked")
def test_a_promise_that_cannot_be_kept_is_refused_at_once() -> None:
    prelude = struct.pack("!II", LIMIT + 1, 0)
    with pytest.raises(AnswerTooLarge, match=str(LIMIT)):
        Frames(LIMIT).feed(prelude + struct.pack("!I", zlib.crc32(prelude)))
    for lengths in ((15, 0), (20, 5), (200_000, 140_000)):
        prelude = struct.pack("!II", *lengths)
        with pytest.raises(ProtocolError, match="lengths"):
            Frames(LIMIT).feed(prelude + struct.pack("!I", zlib.crc32(prelude)))
    with pytest.raises(ProtocolError, match="no frames"):
        Frames(LIMIT).feed(b"data: {}\n\n  ")


@pytest.mark.requirement("bedrock:frames-checked")
@pytest.mark.parametrize(
    "headers",
    [b"\x01", b"\x01a", b"\x01a\x0a", b"\x01a\x07\x00", b"\x01a\x07\x00\x05ab", b"\x05a\x00", b"\x01a\x07\x00\x01\xff"],
)
def test_headers_that_cannot_be_read_are_an_error(headers: bytes) -> None:
    with pytest.raises(ProtocolError):
        Frames(LIMIT).feed(raw(headers, b"{}"))


def test_each_kind_of_frame_is_one_object() -> None:
    event = frame_of({":event-type": "messageStop", ":message-type": "event"}, b'{"stopReason":"end_turn"}')
    empty = frame_of({":event-type": "contentBlockStop"}, b"")
    thrown = frame_of({":exception-type": "throttlingException", ":message-type": "exception"}, b'{"message":"m"}')
    failed = frame_of({":message-type": "error", ":error-code": "Oops", ":error-message": 'a "b"'}, b"")
    odd = frame_of({":event-type": 'a":1,"x'}, b"{}") + frame_of({}, b"{}")
    assert [json.loads(data) for data in Frames(LIMIT).feed_data(event + empty + thrown + failed + odd)] == [
        {"messageStop": {"stopReason": "end_turn"}},
        {"contentBlockStop": {}},
        {"exception": {"type": "throttlingException", "said": {"message": "m"}}},
        {"error": {"type": "Oops", "message": 'a "b"'}},
    ]
