"""The tool that reads from the web: what becomes of an answer, and where it never goes."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.loopback import Request, Server, answer, serving

from holdfast.net.settings import Resolve
from holdfast.safety.addresses import PUBLIC
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.fetch import fetch, fetch_tool
from holdfast.tools.builtin.fetching.decoding import decoded
from holdfast.tools.builtin.fetching.markdown import as_markdown
from holdfast.types import CallId, Effect, StreamId, ToolResult

# 127.0.0.2 stands for "somewhere on the web", 127.0.0.1 for "somewhere inside": both can be listened to.
WEB = PUBLIC.opening(["127.0.0.2"])


async def use(tool: Any, url: str, **arguments: Any) -> ToolResult:
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k")
    result = await tool.run(tool.parse(json.dumps({"url": url, **arguments}).encode()), context)
    assert isinstance(result, ToolResult)
    return result


async def fail(tool: Any, url: str, **arguments: Any) -> ToolFailure:
    with pytest.raises(ToolFailure) as caught:
        await use(tool, url, **arguments)
    return caught.value


async def served(
    body: bytes, kind: str = "text/html", *, status: str = "200 OK", more: str = "", **arguments: Any
) -> Any:
    async def give(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        writer.write(answer(body, status, f"Content-Type: {kind}\r\n{more}" if kind else more))

    async with serving(give, host="127.0.0.2") as server:
        return await use(fetch_tool(WEB), f"{server.url}/page?q=1#part", **arguments)


def names(*answers: Sequence[str]) -> Resolve:
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


@pytest_asyncio.fixture
async def trap() -> AsyncGenerator[Server]:
    """A server inside, which must never be spoken to."""
    async with serving() as server:
        yield server
        assert server.connections == 0


PAGE = """<!DOCTYPE html><html><head><title>A &amp; B</title><style>p{}</style><script>if (a<b) "</p>"</script></head>
<body><h1>Big</h1><p>One <b>two</b>
 three <a href="/x?y=(1)">link <i>text</i></a>, end<br>next.<!-- <p>gone</p> --></p>
<ul><li>first<li>second<ol start="3"><li>deep</li><li>er</li></ol></li></ul>
<blockquote><p>said</p></blockquote><pre><code>a  &lt; b
  c</code></pre><p><code>x</code> <img src="i.png" alt="Pic"><a href="javascript:x()">no</a></p>
<table><tr><th>k</th><th>v</th></tr><tr><td>1</td><td>2</td></tr></table></body></html>"""


@pytest.mark.requirement("tools:fetch-readable")
async def test_a_page_becomes_markdown() -> None:
    result = await served(PAGE.encode(), "text/html; charset=utf-8")
    url = result.metadata["finalUrl"].partition("/page")[0]
    assert result.content == (
        "Title: A & B\n\n# Big\n\n"
        f"One two three [link text]({url}/x?y=(1%29), end\nnext.\n\n"
        "- first\n- second\n  3. deep\n  4. er\n\n"
        "> said\n\n```\na  < b\n  c\n```\n\n"
        f"`x` ![Pic]({url}/i.png)no\n\nk | v\n1 | 2"
    )
    raw = await served(PAGE.encode(), raw=True)
    assert raw.content == PAGE


@pytest.mark.requirement("tools:fetch-metadata")
async def test_the_result_says_where_it_came_from_and_what_it_was() -> None:
    result = await served(b"<title>T</title>x", "text/html")
    url = result.metadata["url"]
    assert result.metadata == {
        "ui": "web-fetch",
        "url": url,
        "finalUrl": url,
        "status": 200,
        "contentType": "text/html",
        "size": 17,
        "truncated": False,
        "title": "T",
    }


@pytest.mark.requirement("tools:fetch-readable")
@pytest.mark.parametrize(
    ("body", "kind", "content"),
    [
        (b'{"a": 1}', "application/json", '{"a": 1}'),
        (b"plain <b>", "text/plain", "plain <b>"),
        ("grün".encode("latin-1"), "text/plain; charset=ISO-8859-1", "grün"),
        ("“x”".encode("cp1252"), "text/plain; charset=us-ascii", "“x”"),
        ("日本".encode("shift_jis"), "text/plain;charset='Shift_JIS'", "日本"),
        ("日本".encode("euc_jp"), 'text/html; charset="euc-jp"', "日本"),
        ("<meta charset=koi8-r>да".encode("koi8-r"), "text/html", "да"),
        ("grün".encode("latin-1"), "text/plain", "grün"),
        ("grün".encode("utf-16"), "text/plain", "grün"),
        (b"\xef\xbb\xbfmarked", "text/plain; charset=latin-1", "marked"),
        ("grün".encode(), "text/plain; charset=punycode", "grün"),
        ("grün".encode(), "text/plain; charset=zlib_codec", "grün"),
        ("grün".encode(), "text/plain; charset=%%", "grün"),
        (b"unsaid", "", "unsaid"),
        (b"\x1b[31mred\x00"[:-1], "text/plain", "\ufffd[31mred"),
        (b"", "text/plain", "[an empty answer]"),
        (b"\x89PNG\0\0", "image/png", "[image/png, 6 bytes: no text, so not shown; a command in bash can download it]"),
        (b"\xff\xfe\xfd\xfc"[2:], "application/octet-stream", "[application/octet-stream, 2 bytes: no text"),
        (b"a\0b", "text/html", "[text/html, 3 bytes: no text"),
        (b"%PDF-1.7", "application/pdf", "[application/pdf, 8 bytes: no text"),
    ],
)
async def test_text_comes_as_it_is_and_everything_else_is_named(body: bytes, kind: str, content: str) -> None:
    result = await served(body, kind)
    assert result.content.startswith(content)
    assert result.content.removeprefix(content) == "" or content.startswith("[")


@pytest.mark.requirement("tools:fetch-bounded")
async def test_of_a_long_answer_the_beginning_is_read_and_no_more() -> None:
    async def endless(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with serving(endless, host="127.0.0.2") as server:
        result = await use(fetch_tool(WEB), server.url)
        await asyncio.wait_for(server.left.wait(), 5)
    assert len(result.content) == (4 << 20) + len("\n[... only the beginning is shown: there is more ...]")
    assert (result.metadata["truncated"], result.metadata["size"]) == (True, 4 << 20)
    bomb = gzip.compress(b"y" * (1 << 28))
    packed = await served(bomb, "text/plain", more="Content-Encoding: gzip\r\n")
    assert packed.metadata["size"] == 4 << 20


@pytest.mark.requirement("tools:fetch-bounded")
async def test_an_answer_that_takes_too_long_is_given_up() -> None:
    async def slow(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(slow, host="127.0.0.2") as server:
        error = await fail(fetch_tool(WEB), server.url, timeout=0.2)
        await asyncio.wait_for(server.left.wait(), 5)
    assert (error.code, "within 0.2 s" in str(error)) == ("timeout", True)


async def test_an_error_of_the_server_is_one_with_its_words() -> None:
    with pytest.raises(ToolFailure, match=r"HTTP status 404 from http://127\.0\.0\.2") as caught:
        await served(b"<p>not here</p>" + b"<p>more</p>" * 2000, status="404 Not Found")
    assert "not here" in str(caught.value)
    assert len(str(caught.value)) < 4200
    assert (caught.value.metadata["status"], caught.value.code) == (404, "execution_failed")


async def test_nothing_of_ours_is_sent() -> None:
    async with serving(host="127.0.0.2") as server:
        for _ in range(2):
            await use(fetch_tool(WEB), f"{server.url}/a#secret")
        assert server.connections == 2
    for request in server.requests:
        assert request.line == "GET /a HTTP/1.1"
        assert set(request.headers) == {"host", "accept", "accept-encoding", "user-agent"}


@pytest.mark.requirement("tools:fetch-guarded")
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://2130706433:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://0.0.0.0:{port}/",
        "http://127.0.0.2:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://10.0.0.1/",
        "http://192.168.0.1/",
        "http://100.64.0.1/",
    ],
)
async def test_the_built_in_tool_reaches_no_address_inside(url: str, trap: Server) -> None:
    error = await fail(fetch, url.format(port=trap.port))
    assert error.code == "permission_denied"
    assert error.metadata == {"ui": "web-fetch", "url": url.format(port=trap.port)}


@pytest.mark.requirement("tools:fetch-guarded")
@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("file:///etc/passwd", "invalid_input"),
        ("ftp://127.0.0.2/", "invalid_input"),
        ("gopher://127.0.0.2/", "invalid_input"),
        ("example.com", "invalid_input"),
        ("http://user:geheim@127.0.0.2/", "invalid_input"),
        ("http://", "invalid_input"),
        ("javascript:1", "invalid_input"),
    ],
)
async def test_what_is_no_plain_address_of_the_web_is_refused(url: str, code: str) -> None:
    assert (await fail(fetch_tool(WEB), url)).code == code


@pytest.mark.requirement("tools:fetch-guarded")
@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:{port}/", "//localhost:{port}/", "http://inner.example:{port}/", "http://169.254.169.254/"],
)
@pytest.mark.parametrize("status", [301, 303, 307])
async def test_a_redirect_inside_is_refused(target: str, status: int, trap: Server) -> None:
    async def redirect(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        writer.write(answer(status=f"{status} Moved", headers=f"Location: {target.format(port=trap.port)}\r\n"))

    async with serving(redirect, host="127.0.0.2") as server:
        error = await fail(fetch_tool(WEB, resolve=names(["127.0.0.1"])), server.url)
    assert error.code == "permission_denied"
    assert len(server.requests) == 1


@pytest.mark.requirement("tools:fetch-guarded")
async def test_a_name_that_leads_inside_at_the_second_look_is_refused(trap: Server) -> None:
    async def away(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        headers = f"Connection: close\r\nLocation: http://two.example:{trap.port}/\r\n"
        writer.write(answer(status="302 Found", headers=headers))

    tool = fetch_tool(WEB, resolve=names(["127.0.0.2"], ["127.0.0.1"]))
    async with serving(away, host="127.0.0.2", port=trap.port) as server:
        error = await fail(tool, f"http://one.example:{trap.port}/")
        assert (error.code, "'two.example'" in str(error)) == ("permission_denied", True)
        again = await fail(tool, f"http://one.example:{trap.port}/")
        assert again.code == "permission_denied"
    assert server.connections == 1


async def test_redirects_are_followed_and_the_last_address_is_named() -> None:
    async def hop(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        number = int(request.line.split()[1].strip("/"))
        if number:
            writer.write(answer(status="302 Found", headers=f"Location: /{number - 1}\r\n"))
        else:
            writer.write(answer(b"there", headers="Content-Type: text/plain\r\n"))

    async with serving(hop, host="127.0.0.2") as server:
        result = await use(fetch_tool(WEB), f"{server.url}/5")
        assert (result.content, result.metadata["finalUrl"]) == ("there", f"{server.url}/0")
        assert "more than 5 times" in str(await fail(fetch_tool(WEB), f"{server.url}/6"))


def test_fetching_changes_nothing() -> None:
    assert fetch.spec.effect == Effect(False, "none", sends=True)
    assert fetch.spec.reference == "builtin:fetch"


HOSTILE = {
    "open comment": "<!--",
    "open tag": "<a href=",
    "open quote": "<a x=\"' ",
    "open script": "<script>",
    "open declaration": "<![CDATA[",
    "brackets": "<",
    "deep": "<div><ul><li><blockquote>",
    "deep and said": "<ul><li><blockquote>x",
    "closed too often": "</div></ul></li></blockquote></pre>",
    "spaces": "<b> </b>",
    "attributes": " a='b\"",
    "numbers": "&#99999999",
    "entities": "&amp",
    "links": "<a href='/'>x",
    "bases": "<a href='" + "y" * 1900 + "'>x</a>",
    "ticks": "<pre>`</pre>",
    "breaks": "<br> ",
    "rows": "<table><tr><td>x",
    "titles": "<title>x</title>",
    "dashes": "<!-->-",
    "control": "\0\x1b",
}


@pytest.mark.requirement("tools:fetch-bounded")
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("before", ["", "<a ", "<pre>", "&#"])
def test_a_hostile_page_costs_no_more_than_its_length(name: str, before: str) -> None:
    piece = HOSTILE[name]

    def cost(length: int) -> float:
        page = (before + piece * (length // len(piece) + 1))[:length]
        begun = time.thread_time()
        read = as_markdown(page, "http://host.example/" + "z" * 1000)
        assert len(read.text) <= 4_000_000
        return time.thread_time() - begun

    assert cost(1 << 16) < 2.5, "it takes a few tenths of a second"


def test_reading_a_page_stops_when_nobody_waits_any_more() -> None:
    stop = threading.Event()
    stop.set()
    assert not as_markdown("<p>x" * 100_000, "http://host.example/", stop).whole


@given(
    st.text(st.sampled_from("<>/!-=\"'& \n#;`abpulitre1x[]()"), max_size=200),
    st.binary(max_size=200),
    st.text(max_size=40),
)
@settings(max_examples=300, deadline=None)
def test_no_page_makes_reading_it_fail(page: str, data: bytes, header: str) -> None:
    for text in (page, f"<pre><ul><li>{page}<a href={page}>", decoded(data, header), decoded(data, "text/html")):
        read = as_markdown(text, "http://host.example/")
        assert len(read.text) <= 40 * len(text) + 100


@given(
    st.lists(st.sampled_from(["word", "&lt;tag&gt;", "é😀", "1"]), max_size=20),
    st.sampled_from(["p", "div", "section"]),
)
@settings(deadline=None)
def test_no_word_of_a_page_is_lost(words: list[str], block: str) -> None:
    html = "".join(f"<{block}>{word}</{block}>\n" for word in words)
    shown = [word.replace("&lt;", "<").replace("&gt;", ">") for word in words]
    assert [line for line in as_markdown(html, "http://h/").text.split("\n") if line] == shown
