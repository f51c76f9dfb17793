"""URLs and redirects, without a network."""

from __future__ import annotations

import pytest

from holdfast.errors import RequestRefused
from holdfast.net.hops import Hop, checked_url, next_hop

KEYS = {"Authorization": "Bearer k", "x-api-key": "k", "Accept": "text/html", "Content-Type": "application/json"}


@pytest.mark.requirement("net:guard-scheme-list")
@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/",
        "file:///etc/passwd",
        "ws://h/",
        "unix:///run/x",
        "tcp://h:1",
        "gopher://h",
        "//h/",
        "h/p",
        "",
        "http:",
    ],
)
def test_only_http_and_https_urls_with_a_host_are_taken(url: str) -> None:
    with pytest.raises(RequestRefused):
        checked_url(url)


@pytest.mark.parametrize(
    "url", ["http://u@h/", "http://u:geheim@h/", "https://:geheim@h/", "http://h:99999/", "http://[::1/"]
)
def test_user_names_and_broken_urls_are_refused_without_repeating_the_secret(url: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        checked_url(url)
    assert "geheim" not in str(refused.value)


@pytest.mark.requirement("safety:guard-odd-spellings")
@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "0x7f.1", "0x7F000001", "127.1", "017700000001"])
def test_a_host_that_is_a_number_is_written_as_the_address_it_is(host: str) -> None:
    assert checked_url(f"http://{host}:80/p").host == "127.0.0.1"


@pytest.mark.parametrize("host", ["feed.example", "face", "1.1.1.1", "a.b", "x"])
def test_other_hosts_stay_as_they_are(host: str) -> None:
    assert checked_url(f"http://{host}/").host == host


def hop(method: str = "GET", url: str = "https://a.example/x", body: bytes | None = None) -> Hop:
    return Hop(method, checked_url(url), body, KEYS)


@pytest.mark.requirement("net:keys-stay-home")
def test_a_redirect_to_another_origin_takes_no_header_that_could_be_a_key() -> None:
    assert next_hop(hop(), 302, "https://b.example/").headers == {
        "Accept": "text/html",
        "Content-Type": "application/json",
    }
    assert next_hop(hop(), 302, "https://a.example:444/").headers == next_hop(hop(), 302, "//b.example").headers
    assert next_hop(hop(), 302, "/y").headers == KEYS


@pytest.mark.parametrize(
    ("status", "method", "body"), [(303, "GET", None), (302, "GET", None), (307, "POST", b"b"), (308, "POST", b"b")]
)
def test_a_redirected_post_keeps_its_body_only_where_the_status_says_so(
    status: int, method: str, body: bytes | None
) -> None:
    following = next_hop(hop("POST", body=b"b"), status, "/z?q=1")
    assert (following.method, following.body, str(following.url)) == (method, body, "https://a.example/z?q=1")
    assert following.headers is not None
    assert ("Content-Type" in following.headers) == (body is not None)


@pytest.mark.requirement("net:keys-stay-home")
@pytest.mark.parametrize("status", [307, 308])
def test_a_body_is_never_sent_to_another_origin(status: int) -> None:
    with pytest.raises(RequestRefused, match="with a body"):
        next_hop(hop("POST", body=b"conversation"), status, "https://b.example/")


@pytest.mark.requirement("net:guard-scheme-list")
@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://a.example/", "https://u:p@a.example/", "https://[", "ftp://a.example"]
)
def test_a_redirect_to_what_would_not_be_asked_for_is_refused(location: str) -> None:
    with pytest.raises(RequestRefused):
        next_hop(hop(), 302, location)
