"""Heads, authorities, paths and TLS greetings: one reading, or none."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.sandbox.egress.parsing.authorities import authority_of, path_of, split_url
from holdfast.sandbox.egress.parsing.heads import framing_of_answer, framing_of_request, head_of, without_hops
from holdfast.sandbox.egress.parsing.hello import HELLO_LIMIT, hello_of

SPELLINGS = {
    "Example.COM": "example.com:80",
    "example.com.": "example.com:80",
    "example.com:8080": "example.com:8080",
    "under_score.example": "under_score.example:80",
    "127.1": "127.0.0.1:80",
    "0x7f.0.0.1": "127.0.0.1:80",
    "2130706433": "127.0.0.1:80",
    "017700000001:81": "127.0.0.1:81",
    "[::1]": "[::1]:80",
    "[0:0::1]:82": "[::1]:82",
    "[::ffff:10.0.0.1]:1": "10.0.0.1:1",
}
WRONG = (
    "", ":80", "a:", "a:0", "a:65536", "a:+1", "a:08", "a:1:2",
    "a b", "a@b", "a/b", "a\\b", "a%2eb", "a..b", ".a", "-a.b", "a..",
    "[::1", "::1", "[::1]x", "[::1%25eth0]", "[fe80::1%eth0]", "[127.0.0.1]",
    "1.2.3.4.5", "1.2.3.999", "0x", "a\0b", "a\nb",
    "\uff11.0.0.1", "ex\u00e4mple.com", "x" * 64, ".".join(["x" * 60] * 5), "999999999999",
)  # fmt: skip


@pytest.mark.requirement("sandbox:egress-one-spelling")
@pytest.mark.parametrize("text", SPELLINGS)
def test_every_spelling_of_a_host_becomes_its_one_spelling(text: str) -> None:
    assert str(authority_of(text, 80)) == SPELLINGS[text]


@pytest.mark.requirement("sandbox:egress-one-spelling")
@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        authority_of(text, 80)


@given(st.text(max_size=40))
def test_whatever_passes_as_a_host_means_the_same_when_it_is_read_again(text: str) -> None:
    try:
        found = authority_of(text, 80)
    except ValueError:
        return
    assert authority_of(str(found)) == found
    assert found.is_address == (found.host.replace(".", "").isdigit() or ":" in found.host)


@pytest.mark.requirement("sandbox:egress-one-spelling")
def test_a_path_keeps_only_the_escapes_it_needs() -> None:
    assert path_of("/a%7Eb%2fc%20d?q=%2e&r") == ("/a~b%2Fc%20d", "q=%2e&r")
    assert path_of("/?") == ("/", "")
    for wrong in (
        "",
        "a",
        "*",
        "/a b",
        "/a#b",
        "/%",
        "/%4",
        "/%00",
        "/%7f",
        "/.",
        "/a/..",
        "/%2e%2E/a",
        "/a%2f..",
        "/..;x",
        "/\\",
    ):
        with pytest.raises(ValueError):
            path_of(wrong)


def test_a_url_is_taken_apart_at_its_first_slash_or_question_mark() -> None:
    assert split_url("HTTP://a:1/b?c") == ("a:1", "/b?c")
    assert split_url("http://a?c=/d") == ("a", "/?c=/d")
    assert split_url("http://a") == ("a", "/")
    for wrong in ("https://a/", "ftp://a", "/a", "//a", "a:80"):
        with pytest.raises(ValueError):
            split_url(wrong)


def test_what_is_sent_on_leaves_out_what_is_about_one_connection() -> None:
    head = head_of(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTE: x\r\nA:  b \r\n\r\n")
    assert without_hops(head, ("host",)) == [("A", "b")]
    assert not head.keeps


def test_how_long_an_answer_is_depends_on_what_was_asked() -> None:
    answer = head_of(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert (framing_of_answer(answer, "GET"), framing_of_answer(answer, "HEAD")) == (5, 0)
    assert framing_of_answer(head_of(b"HTTP/1.1 304 \r\n\r\n"), "GET") == 0
    assert framing_of_answer(head_of(b"HTTP/1.0 200 OK\r\n\r\n"), "GET") == "end"
    assert framing_of_request(head_of(b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n")) == "chunked"
    with pytest.raises(ValueError, match="not chunked"):
        framing_of_request(head_of(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"))


@given(st.binary(max_size=60))
def test_whatever_passes_as_a_head_has_lines_that_nobody_reads_otherwise(raw: bytes) -> None:
    try:
        head = head_of(b"GET / HTTP/1.1\r\n" + raw + b"\r\n\r\n")
    except ValueError:
        return
    assert all("\n" not in value and "\r" not in value and "\0" not in value for _, value in head.fields)
    assert len(head.fields) == raw.count(b"\r\n") + 1


def greeting(name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    out = ssl.MemoryBIO()
    talk = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        talk.do_handshake()
    return out.read()


def in_records(data: bytes, size: int) -> bytes:
    body = data[5:]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(data[:3] + len(piece).to_bytes(2) + piece for piece in pieces)


@pytest.mark.requirement("sandbox:egress-tls-name")
@pytest.mark.parametrize("size", [1, 7, 100, 16000])
def test_the_name_in_a_greeting_is_found_however_it_is_cut(size: int) -> None:
    data = in_records(greeting("Api.Example.com"), size)
    for end in range(1, len(data), 97):
        assert hello_of(data[:end]) is None
    found = hello_of(data + b"more")
    assert found is not None
    assert found.name == "api.example.com"
    nameless = hello_of(greeting(None))
    assert nameless is not None
    assert nameless.name == ""


@pytest.mark.requirement("sandbox:egress-tls-name")
def test_what_is_no_greeting_is_refused() -> None:
    good = greeting("a.example")
    twice = b"\0\0" + (14).to_bytes(2) + b"\0\x0c\0\0\x09a.example"
    named = good.index(twice[:9])
    length = int.from_bytes(good[3:5])
    two = bytearray(good[:named] + twice + good[named:])
    two[3:5] = (length + len(twice)).to_bytes(2)
    two[6:9] = (length - 4 + len(twice)).to_bytes(3)
    at = 5 + 4 + 34 + 1 + good[43]
    at += 2 + int.from_bytes(good[at : at + 2]) + 2
    two[at : at + 2] = (int.from_bytes(good[at : at + 2]) + len(twice)).to_bytes(2)
    for wrong in (
        b"\x16\x03\x01\0\0",
        b"\x16\x02\0\0\x05",
        b"\x16\x03\x01\0\x04\x02\0\0\x01",
        bytes(two),
        b"\x17" + good[1:],
    ):
        with pytest.raises(ValueError):
            hello_of(wrong)
    endless = b"\x16\x03\x01\x40\0\x01\xff\xff\xff" + bytes(HELLO_LIMIT)
    with pytest.raises(ValueError, match="too long"):
        hello_of(endless)


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reading_of_a_greeting_fail_otherwise(data: bytes) -> None:
    body = b"\x01" + len(data).to_bytes(3) + data
    for each in (data, b"\x16\x03\x01" + len(body).to_bytes(2) + body):
        try:
            hello_of(each)
        except ValueError:
            continue
