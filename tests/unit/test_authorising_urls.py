"""Scopes of URLs against what somebody hostile writes, and against what our own client makes of it."""

from __future__ import annotations

from ipaddress import IPv6Address
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.errors import RequestRefused
from holdfast.net.hops import checked_url
from holdfast.tools.authorising.matching.urls import url_of
from holdfast.tools.authorising.scopes import ArgumentScope, compile_scope


def judged(url: str, allow: tuple[str, ...], deny: tuple[str, ...] = ()) -> str:
    scope = ArgumentScope(argument="x", kind="url", allow=allow, deny=deny)
    found = compile_scope(scope, "t")({"x": url}, "")
    return "allow" if found is None else found.verdict


API = ("https://api.example.com/v1", "https://*.files.example.com/", "http://127.0.0.1:8080", "https://bücher.example/")

URLS_IN = """
https://api.example.com/v1
https://api.example.com/v1/
https://api.example.com/v1/x?q=https://evil.org/@
https://api.example.com/v1?x#frag
HTTPS://API.Example.COM/v1/x
https://api.example.com./v1/x
https://api.example.com:443/v1/x
https://api.example.com/%76%31/x
https://api.example.com/v1//x
https://a.files.example.com/
https://a.b.files.example.com/anything
http://127.0.0.1:8080/x
http://[::ffff:127.0.0.1]:8080/
https://bücher.example/x
https://BÜCHER.example/é
https://xn--bcher-kva.example/
""".strip().splitlines()

URLS_OUT = r"""
http://api.example.com/v1
https://api.example.com/
https://api.example.com/v10
https://api.example.com/V1
https://api.example.com:8443/v1
https://api.example.com:0/v1
https://api.example.com:99999/v1
https://api.example.com:/v1
https://api.example.com.evil.org/v1
https://evil.org/https://api.example.com/v1
https://evilapi.example.com/v1
https://files.example.com/
https://evilfiles.example.com/
https://api.example.com@evil.org/v1
https://api.example.com%40evil.org/v1
https://user:pass@api.example.com/v1
https://@api.example.com/v1
https://evil.org#@api.example.com/v1
https://evil.org?@api.example.com/v1
https://api.example.com#@evil.org
https://evil.org\@api.example.com/v1
https://api.example.com\@evil.org/v1
https://api.example.com/v1\..\admin
https://api.example.com/v1/../admin
https://api.example.com/v1/%2e%2e/admin
https://api.example.com/v1/.%2E/admin
https://api.example.com/v1/..;/admin
https://api.example.com/v1/%252e%252e/admin
https://api.example.com/v1%2f..%2fadmin
https://api.example.com/v1%5c..%5cadmin
https://api.example.com/v1/x%00
https://api.example.com/v1/%
https://api.example.com/x/../v1
https:/api.example.com/v1
https:api.example.com/v1
https:///api.example.com/v1
//api.example.com/v1
api.example.com/v1
ftp://api.example.com/v1
javascript:https://api.example.com/v1
https://api。example。com/v1/x/../..
https://faß.files.example.com/
http://2130706433:8080/
http://0x7f.1:8080/
http://127.1:8080/
http://0177.0.0.1:8080/
http://127.0.0.1:8081/
http://[::1%25eth0]:8080/
http://127.0.0.1.evil.org:8080/
https://[api.example.com]/v1
https://api.example.com%00.evil.org/v1
https://api.example.com%2eevil.org/v1
""".strip().splitlines()

HIDDEN = [
    "https://api.example.com\uff1a443/v1",
    "https://api.example.com\uff0fv1",
    "https://\u0430pi.example.com/v1",
    " https://api.example.com/v1",
    "https://api.example.com/v1 ",
    "https://api.example.com/v1\n",
    "https://api.exa\tmple.com/v1",
    "https://evil.org\r\nHost: api.example.com/v1",
    "https://api.example.com\u200b/v1",
    "https://api\u00ad.example.com/v1",
    "https://\u202eapi.example.com/v1",
    "https://api.example.com/v1/\ud800",
    "https://api.example.com/v1/" + "x" * 9000,
    "",
]


@pytest.mark.requirement("authorising:scope-urls")
@pytest.mark.parametrize("url", URLS_IN)
def test_a_url_inside_is_inside_however_it_is_spelled(url: str) -> None:
    assert judged(url, API) == "allow"


@pytest.mark.requirement("authorising:scope-urls")
@pytest.mark.parametrize("url", [*URLS_OUT, *HIDDEN], ids=lambda url: ascii(url)[:60])
def test_a_url_outside_is_outside_whatever_it_pretends(url: str) -> None:
    assert judged(url, API) == "deny"
    assert judged(url, ("*://never.example/",)) == "deny"


def test_a_denying_url_reads_more_generously_than_an_allowing_one() -> None:
    deny = ("https://example.com/Admin", "http://*/")
    for url in ("https://example.com/admin/x", "https://example.com:8443/ADMIN", "http://other.org:99/"):
        assert judged(url, ("*://*:*/",), deny) == "deny", url
    for url in ("https://example.com/administrator", "https://sub.example.com/Admin"):
        assert judged(url, ("*://*:*/",), deny) == "allow", url


HOSTS = (
    "a.b",
    "A.B.",
    "evil.org",
    "bücher.example",
    "[::1]",
    "[::ffff:1.2.3.4]",
    "1.2.3.4",
    "0x7f.1",
    "a。b",
    "faß.de",
)
PARTS = ("://", "/", "\\", "@", ":", "?", "#", "%2e", "..", ";", "80", "ü", "x", *HOSTS)
WHOLE = st.tuples(
    st.sampled_from(("http", "HTTPS")),
    st.sampled_from(("://", "://", "://", ":/", ":")),
    st.sampled_from(("", "", "", "u@", "a.b@", "a.b\\@")),
    st.sampled_from(HOSTS),
    st.sampled_from(("", "", ":80", ":8443", ":", ":0", ":x")),
    st.lists(st.sampled_from(PARTS), max_size=5).map("".join),
).map("".join)


@pytest.mark.requirement("authorising:scope-urls")
@given(WHOLE | st.lists(st.sampled_from(PARTS), max_size=9).map("".join) | st.text(max_size=40).map("https://".__add__))
@example("https://A.B.:8443/x%2e")
@example("http://[::ffff:1.2.3.4]")
def test_a_url_that_is_read_is_the_one_that_others_read(text: str) -> None:
    try:
        url = url_of(text)
    except ValueError:
        return
    theirs = urlsplit(text)
    dialled = checked_url(text)  # what our own client makes of the very text
    assert theirs.scheme == dialled.scheme == url.scheme
    assert (theirs.port or dialled.port) == dialled.port == url.port
    hosts = {(dialled.raw_host or "").rstrip("."), (theirs.hostname or "").rstrip(".").encode("idna").decode()}
    assert {_one(each) for each in hosts} == {url.host}
    assert url_of(str(url)) == url, "ours can be read again"


def _one(host: str) -> str:
    if ":" not in host:
        return host
    address = IPv6Address(host)
    return str(address.ipv4_mapped or address)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://user@example.com/", "a name or password before its host"),
        ("https://evil.org?@example.com", "a name or password before its host"),
        ("ftp://example.com/", "no URL of http or https"),
        ("https:///x", "neither a name nor an address"),
        ("https://a.b:/x", "cannot be told apart"),
    ],
)
def test_a_url_that_is_not_read_says_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        url_of(text)


def test_what_our_client_refuses_is_not_read_by_a_scope_either() -> None:
    for text in ("https://user@example.com/", "ftp://example.com/", "https:///x"):
        with pytest.raises(RequestRefused):
            checked_url(text)
        with pytest.raises(ValueError, match="its host|it is no URL|name or password"):  # noqa: RUF043 - one of these
            url_of(text)
