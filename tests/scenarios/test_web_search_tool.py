"""Searching the web: what becomes of an engine's answer, and where a query goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.loopback import Request, Server, answer, serving
from tests.running import MODEL, of, scene, soon

from holdfast import Agent
from holdfast.engine.events import ToolFinished
from holdfast.errors import UsageError
from holdfast.safety.addresses import PUBLIC
from holdfast.safety.redacting import Redactor
from holdfast.safety.secrets.chain import Secrets
from holdfast.safety.secrets.environment import EnvironmentSecrets
from holdfast.testing import Call, Turn
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.knowing.addresses import place_of
from holdfast.tools.builtin.knowing.engines import WebSearch, configured
from holdfast.tools.builtin.knowing.hits import Hit, hits_in_json, hits_in_page
from holdfast.tools.builtin.knowing.web_search import web_search, web_search_tool
from holdfast.types import CallId, Effect, StreamId, ToolResult

URL = "https://html.duckduckgo.com/html/?q=x"
KEYS = {"BRAVE_API_KEY": "brave-key", "TAVILY_API_KEY": "tavily-key"}


def leads(url: str) -> str:
    return f"//duckduckgo.com/l/?uddg={quote(url, safe='')}&amp;rut=0123"


def plain(*hits: Hit) -> str:
    """The page for simple browsers."""
    rows = [
        f"""<div class="result results_links web-result"><h2 class="result__title">
        <a rel="nofollow" class="result__a" href="{leads(each.url)}">{each.title}</a></h2>
        <a class="result__url" href="{leads(each.url)}">shown.example</a>
        <a class="result__snippet" href="{leads(each.url)}">{each.snippet}</a></div>"""
        for each in hits
    ]
    return f"<html><head><title>x at DuckDuckGo</title></head><body>{''.join(rows)}</body></html>"


def light(*hits: Hit) -> str:
    rows = [
        f"""<tr><td>1.&nbsp;</td><td><a rel="nofollow" href="{leads(each.url)}" class='result-link'>{each.title}</a>
        </td></tr><tr><td></td><td class='result-snippet'>{each.snippet}</td></tr>"""
        for each in hits
    ]
    return f"<html><body><table>{''.join(rows)}</table></body></html>"


FOUND = (
    Hit("One &amp; <b>two</b>", "https://one.example/a?b=c&d=e", "First\n  <b>words</b>&hellip;"),
    Hit("Second", "http://two.example/", "Second words"),
)
READ = [
    Hit("One & two", "https://one.example/a?b=c&d=e", "First words…"),
    Hit("Second", "http://two.example/", "Second words"),
]
SHOWN = """\
1. One & two
   https://one.example/a?b=c&d=e
   First words…
2. Second
   http://two.example/
   Second words"""


async def use(tool: Any, query: str = "what is it", **arguments: Any) -> ToolResult:
    secrets = Secrets([EnvironmentSecrets(KEYS)], Redactor())
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k", secrets=secrets)
    result = await tool.run(tool.parse(json.dumps({"query": query, **arguments}).encode()), context)
    assert isinstance(result, ToolResult)
    return result


async def searched(
    body: bytes | str, *, status: str = "200 OK", kind: str = "text/html", more: str = "", **arguments: Any
) -> tuple[ToolResult, Request]:
    engine = arguments.pop("engine", "duckduckgo")

    async def give(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        data = body.encode() if isinstance(body, str) else body
        writer.write(answer(data, status, f"Content-Type: {kind}\r\n{more}"))

    async with serving(give) as server:
        result = await use(web_search_tool(WebSearch(engine=engine, base_url=server.url)), **arguments)
        return result, server.requests[0]


async def failed(*given: Any, **arguments: Any) -> ToolFailure:
    with pytest.raises(ToolFailure) as caught:
        await searched(*given, **arguments)
    return caught.value


@pytest.mark.requirement("knowing:search-duckduckgo")
@pytest.mark.parametrize("page", [plain, light])
async def test_a_page_of_duckduckgo_becomes_titles_addresses_and_snippets(page: Any) -> None:
    result, request = await searched(page(*FOUND), query="what is it? ä&b")
    assert result.content == SHOWN
    assert result.metadata == {
        "ui": "web-search",
        "query": "what is it? ä&b",
        "engine": "duckduckgo",
        "status": 200,
        "count": 2,
        "urls": [each.url for each in READ],
    }
    line = request.line.split()
    assert (line[0], urlsplit(line[1]).path) == ("GET", "/html/")
    assert parse_qs(urlsplit(line[1]).query) == {"q": ["what is it? ä&b"]}
    assert set(request.headers) == {"host", "accept", "accept-encoding", "user-agent"}


@pytest.mark.requirement("knowing:search-duckduckgo")
def test_advertisements_repeats_and_links_of_the_engine_are_left_out() -> None:
    rows = [
        '<a class="result__a" href="https://duckduckgo.com/y.js?ad_domain=x.example">Ad</a>',
        '<a class="result__a" href="/settings">Settings</a>',
        '<a class="result__a" href="//duckduckgo.com/l/?uddg=javascript%3Aalert(1)">Script</a>',
        '<a class="result__a" href="http://[::1">Broken</a>',
        '<a class="result__a" href="https://user:pass@one.example/">Named</a>',
        f'<a class="result__a" href="{leads("https://one.example/#top")}">One</a>',
        f'<a class="result__a" href="{leads("https://ONE.example")}">Again</a>',
        '<a class="result__a" href="https://two.example/">Without a detour</a>',
    ]
    assert hits_in_page("".join(rows), URL, 20) == [
        Hit("One", "https://one.example/#top"),
        Hit("Without a detour", "https://two.example/"),
    ]


@pytest.mark.requirement("knowing:search-duckduckgo")
async def test_no_more_come_than_were_asked_for_and_none_is_said_to_be_none() -> None:
    many = [Hit(f"T{n}", f"https://x.example/{n}", "s") for n in range(40)]
    assert len((await searched(plain(*many)))[0].metadata["urls"]) == 8
    assert len((await searched(plain(*many), count=20))[0].metadata["urls"]) == 20
    for page in ('<div class="no-results">No results.</div>', "<td>No more results.</td>"):
        result, _ = await searched(page)
        assert (result.content, result.metadata["urls"]) == ("Nothing was found.", [])


ROWS = [
    {"title": "One & two", "url": READ[0].url, "content": "First <b>words</b>…", "description": "First words…"},
    {"title": "Second", "url": READ[1].url, "content": "Second words", "description": "Second words", "age": 3},
]


@pytest.mark.requirement("knowing:search-engines")
@pytest.mark.parametrize(
    ("engine", "body", "line", "header"),
    [
        ("searxng", {"query": "x", "results": ROWS}, "GET /search?q=what+is+it&format=json HTTP/1.1", None),
        (
            "brave",
            {"web": {"results": ROWS}},
            "GET /res/v1/web/search?q=what+is+it&count=8 HTTP/1.1",
            ("x-subscription-token", "brave-key"),
        ),
        ("tavily", {"results": ROWS}, "POST /search HTTP/1.1", ("authorization", "Bearer tavily-key")),
    ],
)
async def test_other_engines_are_asked_in_their_ways(
    engine: str, body: dict[str, Any], line: str, header: tuple[str, str] | None
) -> None:
    result, request = await searched(json.dumps(body), kind="application/json", engine=engine)
    assert (result.content, result.metadata["engine"]) == (SHOWN, engine)
    assert request.line == line
    assert header is None or request.headers[header[0]] == header[1]
    assert request.body == (b'{"query":"what is it","max_results":8}' if engine == "tavily" else b"")
    assert "-key" not in result.content + str(result.metadata)


@pytest.mark.requirement("knowing:search-engines")
def test_an_engine_is_named_by_the_program_or_the_environment_and_a_wrong_one_is_refused() -> None:
    assert configured({}).address == "https://html.duckduckgo.com/html/"
    assert configured({"HOLDFAST_SEARCH_URL": "https://lite.duckduckgo.com/lite/"}).address.endswith("/lite/")
    own = configured({"HOLDFAST_SEARCH_ENGINE": "searxng", "HOLDFAST_SEARCH_URL": "http://127.0.0.1:8888/own/"})
    assert own.address == "http://127.0.0.1:8888/own/search"
    assert WebSearch(engine="searxng", base_url="http://h/search").address == "http://h/search"
    assert [WebSearch(engine=each).wants for each in ("brave", "tavily")] == ["brave-api-key", "tavily-api-key"]
    for wrong in ({"HOLDFAST_SEARCH_ENGINE": "other"}, {"HOLDFAST_SEARCH_ENGINE": "searxng"}):
        with pytest.raises(UsageError):
            configured(wrong)
    for address in ("host", "ftp://host", "http://", "http://host?x=1", "http://[::1"):
        with pytest.raises(UsageError, match="write it like"):
            WebSearch(base_url=address)


@pytest.mark.requirement("knowing:search-engines")
async def test_a_key_that_nobody_knows_is_named_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server:
        tool = web_search_tool(WebSearch(engine="brave", base_url=server.url, secret="my-own"))
        with pytest.raises(ToolFailure, match="'my-own'"):
            await use(tool)
        monkeypatch.setenv("HOLDFAST_SEARCH_ENGINE", "nonsense")
        with pytest.raises(ToolFailure, match="no search engine 'nonsense'"):
            await use(web_search)
        assert server.connections == 0


CHALLENGE = '<form id="challenge-form" action="//duckduckgo.com/anomaly.js"><div class="anomaly-modal__title">bots'


@pytest.mark.requirement("knowing:search-honest")
@pytest.mark.parametrize(
    ("body", "more", "words"),
    [
        (CHALLENGE, {}, "whether a person asks"),
        (CHALLENGE, {"status": "202 Accepted"}, "HTTP status 202"),
        (plain(*FOUND) + CHALLENGE, {"count": 20}, "whether a person asks"),
        ("slow down", {"status": "429 Too Many Requests"}, "asked too often"),
        ("no", {"status": "403 Forbidden"}, "refuses to answer"),
        ("oh", {"status": "500 Server Error"}, "HTTP status 500"),
        ("", {"status": "302 Found", "more": "Location: http://127.0.0.1:9/\r\n"}, "redirect"),
        ("<p>Welcome to this hotel's network", {}, "nothing that can be read as results"),
        ("", {}, "nothing that can be read as results"),
        ("<html>", {"engine": "searxng"}, "no JSON"),
        ('{"results": 1}', {"engine": "searxng"}, "no list 'results'"),
        ("[]", {"engine": "tavily"}, "no list 'results'"),
        ('{"web": {"results": {}}}', {"engine": "brave"}, "no list 'web.results'"),
    ],
)
async def test_what_is_no_answer_is_never_no_results(body: str, more: dict[str, Any], words: str) -> None:
    error = await failed(body, **more)
    assert words in str(error)
    assert (error.code, "urls" in error.metadata) == ("execution_failed", False)


@pytest.mark.requirement("knowing:search-guarded")
async def test_the_usual_place_is_dialled_as_a_public_address_only() -> None:
    async def inside(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    with pytest.raises(ToolFailure) as caught:
        await use(web_search_tool(WebSearch(), resolve=inside))
    assert caught.value.code == "permission_denied"
    async with serving() as server:
        tool = web_search_tool(WebSearch(base_url=server.url), policy=PUBLIC)
        with pytest.raises(ToolFailure) as caught:
            await use(tool)
        assert (caught.value.code, server.connections) == ("permission_denied", 0)


@pytest.mark.requirement("knowing:search-guarded")
async def test_an_engine_that_is_not_there_is_a_failure_and_so_is_an_empty_query() -> None:
    with pytest.raises(ToolFailure) as caught:
        await use(web_search_tool(WebSearch(base_url="http://127.0.0.1:9")))
    assert caught.value.metadata["engine"] == "duckduckgo"
    with pytest.raises(ToolFailure, match="what to look for"):
        await use(web_search_tool(WebSearch(base_url="http://127.0.0.1:9")), query="  ")
    assert web_search.spec.effect == Effect(False, "none", sends=True)


@pytest.mark.requirement("knowing:search-guarded", "tools:citation-touched-only")
async def test_a_run_searches_by_name_where_the_environment_says_and_may_cite_a_hit() -> None:
    async def give(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        writer.write(answer(plain(*FOUND).encode(), headers="Content-Type: text/html\r\n"))

    cites = [Call("cite", {"url": READ[1].url}), Call("cite", {"url": "https://three.example/"})]
    turns = [Turn(calls=[Call("web_search", {"query": "x"})]), Turn(calls=cites), "done"]
    async with serving(give) as server, scene(turns) as s:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("HOLDFAST_SEARCH_URL", server.url)
            agent = Agent(MODEL, tools=["web_search", "cite"])
            assert (await soon((await s.runtime.start(agent, "go", session="s")).result())).output == "done"
        found, *cited = [each.result for each in of(ToolFinished, await s.log())]
    assert found.content == SHOWN
    assert [json.loads(each.content)["ok"] for each in cited] == [True, False]


@pytest.mark.requirement("knowing:search-hostile")
async def test_of_an_endless_page_the_beginning_is_read() -> None:
    async def endless(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + plain(*FOUND).encode())
        while True:
            writer.write(b"<a class=result__a>" * 4096)
            await writer.drain()

    async with serving(endless) as server:
        result = await use(web_search_tool(WebSearch(base_url=server.url)))
        await asyncio.wait_for(server.left.wait(), 5)
    assert result.content == SHOWN


def sound(hits: list[Hit], most: int) -> None:
    assert len(hits) <= most
    for each in hits:
        assert place_of(each.url)
        assert len(each.url) <= 2000
        assert len(each.title) <= 300
        assert len(each.snippet) <= 600
        assert not any(letter < " " or letter == "\x7f" for letter in each.title + each.url + each.snippet)
        msgspec.json.encode(each)


PIECES = st.one_of(
    st.sampled_from(
        ['<a class="result__a" href="', '">', "</a>", "<td class=result-snippet>", "</td>", "<", "/l/?uddg="]
    ),
    st.sampled_from(
        ["//duckduckgo.com/l/?uddg=", "https%3A%2F%2Fx.example%2F", "https://y.example/", "%0d%0a", "&#0;"]
    ),
    st.sampled_from(
        ["<!--", "<script>", "\0", "\x1b[31m", "no results", "\ud800", "http://[", "a" * 3000, "\n", "&amp;"]
    ),
    st.text(max_size=5),
)


@pytest.mark.requirement("knowing:search-hostile")
@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join), st.integers(1, 5))
def test_whatever_a_page_holds_what_comes_of_it_is_bounded_and_of_the_web(page: str, most: int) -> None:
    with suppress(ToolFailure):
        sound(hits_in_page(page, URL, most), most)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["https://x.example/", "<b>x"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["web", "results", "title", "url", "content", "description"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


@pytest.mark.requirement("knowing:search-hostile")
@settings(max_examples=200, deadline=None)
@given(JSON, st.integers(1, 3))
def test_whatever_json_holds_what_comes_of_it_is_bounded_and_of_the_web(value: Any, most: int) -> None:
    for path, text in ((("results",), "content"), (("web", "results"), "description")):
        for data in (json.dumps(value), json.dumps({"results": value, "web": {"results": [value]}})):
            with suppress(ToolFailure):
                sound(hits_in_json(data.encode(), path, text, most), most)


@pytest.mark.requirement("knowing:search-hostile")
@pytest.mark.parametrize("data", [b"\xff\xfe", b"[" * 100_000, b'{"results": [' * 50_000, b""])
def test_json_that_is_damaged_is_said_to_be(data: bytes) -> None:
    with pytest.raises(ToolFailure):
        hits_in_json(data, ("results",), "content", 5)
