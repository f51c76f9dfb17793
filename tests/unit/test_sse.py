"""The event stream parser against a slow decoder written from the standard, and against hostile bytes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import AnswerTooLarge
from holdfast.net.sse import SseEvent, SseParser

Plain = tuple[bytes, bytes, bytes]


def slow_lines(stream: bytes) -> list[bytes]:
    """Complete lines, byte by byte."""
    lines: list[bytes] = []
    line = bytearray()
    at = 0
    while at < len(stream):
        byte = stream[at]
        at += 1
        if byte == 13:
            if at < len(stream) and stream[at] == 10:
                at += 1
            lines.append(bytes(line))
            line.clear()
        elif byte == 10:
            lines.append(bytes(line))
            line.clear()
        else:
            line.append(byte)
    return lines


def slow_decode(stream: bytes) -> list[Plain]:
    """The standard's algorithm, step by step, on the whole stream."""
    if stream[:3] == b"\xef\xbb\xbf":
        stream = stream[3:]
    data, kind, last_id = b"", b"", b""
    events: list[Plain] = []
    for line in slow_lines(stream):
        if line == b"":
            if data != b"":
                events.append((kind or b"message", data[:-1], last_id))
            data, kind = b"", b""
            continue
        if line[0:1] == b":":
            continue
        colon = line.find(b":")
        name, value = (line, b"") if colon < 0 else (line[:colon], line[colon + 1 :])
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            data += value + b"\n"
        elif name == b"event":
            kind = value
        elif name == b"id" and b"\0" not in value:
            last_id = value
    return events


def plain(events: list[SseEvent]) -> list[Plain]:
    return [(event.event, event.data, event.id) for event in events]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({place % (len(stream) + 1) for place in places} | {0, len(stream)})
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


LINES = st.sampled_from(
    [
        b"",
        b"",
        b"data: {}",
        b"data: {}",
        b"data:{}",
        b"data:  two blanks",
        b"data",
        b"data:",
        b"data: a:b",
        b": comment",
        b":",
        b"event: ping",
        b"event",
        b"id: 7",
        b"id: 7\0",
        b"id",
        b"retry: 12",
        b"retry: x",
        b" data: no",
        b"unknown: 1",
        b"\xef\xbb\xbfdata: x",
        "data: grün 🌲".encode(),
    ]
)
ENDS = st.sampled_from([b"\n", b"\n", b"\n", b"\n\n", b"\r\n", b"\r", b"\r\n\r\n", b"\r\r"])
STREAMS = st.one_of(
    st.binary(max_size=60),
    st.lists(st.tuples(LINES, ENDS), max_size=25).map(lambda pairs: b"".join(a + b for a, b in pairs)),
    st.lists(st.sampled_from([b"data: {}\n\n", b"data: [1,2]\n\n", b"data: \n\n", b"\n"]), max_size=20).map(b"".join),
)
LEADS = st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xef\xbb"])
CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@pytest.mark.requirement("net:sse-cut-anywhere", "net:sse-fuzz", "net:sse-line-endings", "net:sse-byte-order-mark")
@given(LEADS, STREAMS, CUTS)
def test_however_a_stream_is_cut_the_events_are_those_of_the_standard(
    lead: bytes, rest: bytes, places: list[int]
) -> None:
    stream = lead + rest
    expected = slow_decode(stream)
    typed, bare = SseParser(), SseParser()
    pieces = cut(stream, places)
    assert plain([event for piece in pieces for event in typed.feed(piece)]) == expected
    assert [data for piece in pieces for data in bare.feed_data(piece)] == [data for _, data, _ in expected]


@pytest.mark.requirement("net:sse-cut-anywhere")
@given(STREAMS)
def test_byte_by_byte_gives_the_same_as_all_at_once(stream: bytes) -> None:
    parser = SseParser()
    single = [event for at in range(len(stream)) for event in parser.feed(stream[at : at + 1])]
    assert plain(single) == plain(SseParser().feed(stream))


@pytest.mark.requirement("net:sse-line-endings")
@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_every_line_end_gives_the_same_events(end: bytes) -> None:
    stream = end.join([b"event: a", b"data: 1", b"data: 2", b"", b"data: 3", b"", b""])
    assert plain(SseParser().feed(stream)) == [(b"a", b"1\n2", b""), (b"message", b"3", b"")]


@pytest.mark.requirement("net:sse-line-endings")
def test_a_line_end_cut_between_its_two_bytes_is_one_line_end() -> None:
    parser = SseParser()
    assert parser.feed_data(b"data: 1\r") == []
    assert parser.feed_data(b"") == []
    assert parser.feed_data(b"\n\r") == [b"1"]
    assert parser.feed_data(b"\ndata: 2\r\n\r\n") == [b"2"]


@pytest.mark.requirement("net:sse-byte-order-mark")
def test_a_byte_order_mark_is_dropped_at_the_start_only() -> None:
    parser = SseParser()
    assert parser.feed_data(b"\xef") == []
    assert parser.feed_data(b"\xbb") == []
    assert parser.feed_data(b"\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\ndata: \xef\xbb\xbf\n\n") == [b"1", b"\xef\xbb\xbf"]


@pytest.mark.requirement("net:sse-split-utf8")
def test_a_character_cut_between_reads_comes_out_whole() -> None:
    stream = "data: grün 🌲\n\n".encode()
    for at in range(len(stream)):
        parser = SseParser()
        assert parser.feed_data(stream[:at]) + parser.feed_data(stream[at:]) == ["grün 🌲".encode()]


@pytest.mark.requirement("net:sse-comments-and-fields")
def test_fields_are_read_as_the_standard_says() -> None:
    parser = SseParser()
    stream = (
        b": hello\n\nevent: add\ndata: 1\nid: 5\n\nid: 6\x00\ndata:2\n\nid\ndata\n\nevent: lost\n\n"
        b"retry: 250\nretry: soon\nretry: 99999999999999999999\nData: no\ndata:  x\n\n"
    )
    expected = [(b"add", b"1", b"5"), (b"message", b"2", b"5"), (b"message", b"", b""), (b"message", b" x", b"")]
    assert plain(parser.feed(stream)) == expected
    assert parser.retry == 250


def test_an_event_without_its_blank_line_is_never_handed_out() -> None:
    parser = SseParser()
    assert parser.feed_data(b"data: 1\n\ndata: 2\n") == [b"1"]
    assert parser.feed_data(b"data: 3") == []
    assert parser.feed_data(b"\n\n") == [b"2\n3"]


@pytest.mark.requirement("net:sse-oversized-event")
@pytest.mark.parametrize(
    "piece", [b"x" * 97, b"data: aaaaaaaaaa\n", b"event: " + b"e" * 40, b"data: " + b"y" * 300 + b"\n\n"]
)
@pytest.mark.parametrize("method", ["feed", "feed_data"])
def test_an_event_over_the_limit_ends_in_one_error_and_bounded_memory(piece: bytes, method: str) -> None:
    parser = SseParser(limit=256)
    feed = getattr(parser, method)
    with pytest.raises(AnswerTooLarge, match="256"):
        for _ in range(40):
            feed(piece)
    assert len(parser._tail) + sum(map(len, parser._data or ())) <= 256 + len(piece)


def test_what_is_not_kept_does_not_count_towards_the_limit() -> None:
    parser = SseParser(limit=64)
    for _ in range(100):
        assert parser.feed_data(b": still here\n") == []
        assert parser.feed(b"event: x\n") == []
    assert parser.feed_data(b"data: 1\n\n" * 50) == [b"1"] * 50


@pytest.mark.requirement("net:sse-fuzz")
@given(st.lists(st.binary(max_size=40), max_size=30))
def test_random_bytes_never_raise_anything_but_the_limit_and_never_grow_beyond_it(pieces: list[bytes]) -> None:
    parser = SseParser(limit=128)
    try:
        for piece in pieces:
            parser.feed_data(piece)
            assert len(parser._tail) + sum(map(len, parser._data or ())) <= 256
    except AnswerTooLarge:
        pass


def test_a_huge_event_in_tiny_reads_costs_time_in_proportion() -> None:
    parser = SseParser()
    for _ in range(400_000):  # quadratic work would take minutes
        parser.feed_data(b"0123456789")
    assert parser.feed_data(b"\n\ndata: 1\n\n") == [b"1"]
