"""What holds of every route, whatever it does."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.listening import listening
from tests.serving import serving

from holdfast.errors import UsageError
from holdfast.server.app import ROUTES, make_app
from holdfast.server.listening.proxies import Proxies
from holdfast.server.parts import Heard, Observer, Service
from holdfast.server.problems import Refused
from holdfast.server.routing.heading import check_once, headers_of
from holdfast.server.routing.route import Call, Route
from holdfast.server.streams.port import Stream


class Named(msgspec.Struct, frozen=True):
    """A name of a path."""

    name: str


class Both(msgspec.Struct, frozen=True):
    """Two names of a path."""

    name: str
    part: str


async def show(call: Call[Named, None, None]) -> Named:
    """Returns the name."""
    return call.where


async def show_both(call: Call[Both, None, None]) -> Both:
    """Returns the names."""
    return call.where


async def fixed(call: Call[None, None, None]) -> Named:
    """Returns its own name."""
    return Named("the fixed one")


async def fail(call: Call[None, None, None]) -> None:
    """Fails as nobody foresaw."""
    raise ZeroDivisionError("a secret of the house: /etc/holdfast/keys")


async def who(call: Call[None, None, None]) -> Named:
    """Returns where it came from."""
    return Named(call.client)


closed: list[str] = []


async def watch(call: Call[None, None, None]) -> Stream:
    """Streams."""

    async def pieces() -> AsyncGenerator[bytes]:
        try:
            yield b"data: 1\n\n"
        finally:
            closed.append("pieces")

    return Stream(pieces=pieces())


def route(path: str, handle: object, method: str = "GET") -> Route:
    return Route(method=method, path=path, handle=handle, scope=None, tag="trial")  # type: ignore[arg-type]


TRIAL = (
    *ROUTES,
    route("/trial/{name}", show),
    route("/trial/fixed", fixed),
    route("/trial/{name}/parts/{part}", show_both),
    route("/fail", fail),
    route("/watch", watch),
    route("/who", who),
)


@pytest.mark.requirement("server_frame:problems")
async def test_a_route_answers_and_what_is_wrong_with_a_request_is_told_as_a_problem() -> None:
    async with serving() as served:
        async with served.client.get("/healthz") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ok"})
        async with served.client.post("/healthz") as answer:
            assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
            assert answer.content_type == "application/problem+json"
        async with served.client.get("/version?x=1") as answer:
            assert (answer.status, (await answer.json())["code"]) == (400, "bad_query")


@pytest.mark.requirement("server_frame:problems")
async def test_where_there_is_nothing_a_problem_says_so_and_names_the_request() -> None:
    async with serving() as served:
        for path in ("/nothing", "/v1", "/healthz/", "/nothing//healthz", "/"):
            async with served.client.get(path, headers={"x-request-id": "mine-1"}) as answer:
                told = await answer.json()
                assert (answer.status, told["code"], told["request_id"]) == (404, "not_found", "mine-1"), path
                assert answer.headers["x-request-id"] == "mine-1"
        async with served.client.get("/nothing", headers={"x-request-id": "a b\t"}) as answer:
            assert (await answer.json())["request_id"] not in ("", "a b\t")


@pytest.mark.requirement("server_frame:problems")
async def test_what_nobody_foresaw_is_told_without_a_word_of_it_and_with_all_of_it_in_the_log() -> None:
    class Kept(Observer):
        def __init__(self) -> None:
            self.errors: list[tuple[str, Exception]] = []
            self.all: list[Heard] = []

        def broken(self, request_id: str, error: Exception) -> None:
            self.errors.append((request_id, error))

        def heard(self, heard: Heard) -> None:
            self.all.append(heard)

    kept = Kept()
    async with listening(TRIAL, observer=kept) as server:
        client = await server.connect()
        client.send("GET /fail HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await client.rest()
        assert answer.startswith("HTTP/1.1 500")
        told = json.loads(answer.partition("\r\n\r\n")[2])
        assert "secret" not in answer and told["code"] == "internal"
        assert [(name, type(error)) for name, error in kept.errors] == [(told["request_id"], ZeroDivisionError)]
        assert [(each.status, each.code) for each in kept.all] == [(500, "internal")]


@pytest.mark.requirement("server_frame:methods")
async def test_head_answers_as_get_without_the_body_and_ends_no_stream_half_way() -> None:
    async with serving(routes=TRIAL) as served:
        async with served.client.get("/version") as got, served.client.head("/version") as answer:
            assert (answer.status, answer.headers["content-length"]) == (200, got.headers["content-length"])
            assert await answer.read() == b""
        async with served.client.head("/nothing") as answer:
            assert (answer.status, await answer.read()) == (404, b"")
        closed.clear()
        async with served.client.head("/watch") as answer:
            assert (answer.status, answer.content_type, await answer.read()) == (200, "text/event-stream", b"")


@pytest.mark.requirement("server_frame:methods")
async def test_options_says_what_a_path_takes_and_other_methods_are_refused_with_it() -> None:
    async with serving() as served:
        async with served.client.options("/version") as answer:
            assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
        for method in ("TRACE", "PUT", "DELETE", "PATCH", "POST", "PURGE"):
            async with served.client.request(method, "/version") as answer:
                assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.requirement("server_frame:paths")
@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        ("/trial/a", 200, "a"),
        ("/trial/fixed", 200, "the fixed one"),
        ("/trial/a%2Fb", 200, "a/b"),
        ("/trial/fixed%2Fparts%2Fx", 200, "fixed/parts/x"),
        ("/trial/%E2%82%AC", 200, "€"),
        ("/trial/a%2F..%2F..%2Fhealthz", 200, "a/../../healthz"),
        ("/trial/..", 404, ""),
        ("/trial/%2e%2e", 404, ""),
        ("/trial/%2e%2e/parts/x", 404, ""),
        ("/trial/../healthz", 404, ""),
        ("/trial/a%00", 404, ""),
        ("/trial/a%0d%0aX: y", 400, ""),
        ("/trial/a%1b%5b31m", 404, ""),
        ("/trial/%ff", 404, ""),
        ("/trial/", 404, ""),
        ("/trial//parts/x", 404, ""),
        ("/trial/a/", 404, ""),
    ],
)
async def test_a_path_is_taken_apart_before_it_is_decoded_and_leads_nowhere_else(
    path: str, status: int, name: str
) -> None:
    async with listening(TRIAL) as server:
        client = await server.connect()
        client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await client.rest()
        assert int(answer.split()[1]) == status
        if status == 200:
            assert json.loads(answer.partition("\r\n\r\n")[2].encode("latin-1"))["name"] == name


@pytest.mark.requirement("server_frame:paths")
async def test_a_path_with_two_names_gives_each_its_own() -> None:
    async with serving(routes=TRIAL) as served, served.client.get("/trial/fixed/parts/b") as answer:
        assert await answer.json() == {"name": "fixed", "part": "b"}


@pytest.mark.requirement("server_frame:doubled-headers")
@pytest.mark.parametrize("name", ["Authorization", "Host", "Content-Type", "Origin", "X-Request-Id", "Idempotency-Key"])
async def test_what_may_be_said_once_and_is_said_twice_is_refused(name: str) -> None:
    async with listening(TRIAL) as server:
        client = await server.connect()
        client.send(f"GET /version HTTP/1.1\r\n{name}: a\r\n{name.upper()}: b\r\nConnection: close\r\n\r\n")
        answer = await client.rest()
        assert answer.startswith("HTTP/1.1 400") and "doubled_header" in answer


@pytest.mark.requirement("server_frame:doubled-headers")
@given(st.lists(st.tuples(st.sampled_from([b"cookie", b"accept", b"origin", b"X-A"]), st.binary(max_size=5))))
def test_headers_that_come_several_times_are_joined_in_their_order(raw: list[tuple[bytes, bytes]]) -> None:
    found = headers_of(raw)
    for name, text in found.items():
        parts = [value.decode("latin-1") for key, value in raw if key.decode().lower() == name]
        assert text == ("; " if name == "cookie" else ", ").join(parts)
    doubled = sum(key == b"origin" for key, _ in raw) > 1
    if doubled:
        with pytest.raises(Refused):
            check_once(raw)
    else:
        check_once(raw)


@pytest.mark.requirement("server_frame:origins")
async def test_pages_of_origins_that_were_named_may_ask_and_are_told_so_before_they_do() -> None:
    async with listening(TRIAL, origins=["https://a.example"]) as server:

        async def ask(origin: str, method: str = "GET", more: str = "") -> str:
            client = await server.connect()
            client.send(
                f"{method} /version HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n{more}Connection: close\r\n\r\n"
            )
            return await client.rest()

        wish = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization, x-a\r\n"
        first = await ask("https://a.example", "OPTIONS", wish)
        assert first.startswith("HTTP/1.1 204")
        assert "access-control-allow-origin: https://a.example\r\n" in first
        assert "access-control-allow-methods: GET, HEAD, OPTIONS\r\n" in first
        assert "access-control-allow-headers: authorization, x-a\r\n" in first
        answer = await ask("https://a.example")
        assert "access-control-allow-origin: https://a.example\r\n" in answer and "vary: origin" in answer
        for other in ("https://b.example", "https://a.example.evil.example", "http://a.example", "null"):
            for told in (await ask(other), await ask(other, "OPTIONS", wish)):
                assert "access-control-allow" not in told and "vary: origin" in told


@pytest.mark.requirement("server_frame:proxies")
async def test_where_a_request_comes_from_is_what_trusted_proxies_say_and_nobody_else() -> None:
    line = "X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nX-Forwarded-For: 10.1.2.3\r\n"
    for proxies, client_ in (
        ([], "127.0.0.1"),
        (["127.0.0.1"], "10.1.2.3"),
        (["127.0.0.1", "10.0.0.0/8"], "203.0.113.9"),
    ):
        async with listening(TRIAL, proxies=proxies) as server:
            client = await server.connect()
            client.send(f"GET /who HTTP/1.1\r\nHost: localhost\r\n{line}Connection: close\r\n\r\n")
            assert json.loads((await client.rest()).partition("\r\n\r\n")[2]) == {"name": client_}


@pytest.mark.requirement("server_frame:proxies")
def test_proxies_are_addresses_and_networks_and_nothing_else_is_taken_for_one() -> None:
    found = Proxies(["10.0.0.0/8", "2001:db8::1"])
    assert "10.9.9.9" in found and "2001:db8::1" in found and "::ffff:10.0.0.1" in found
    assert not [each for each in ("11.0.0.1", "", "unknown", "10.0.0.1:80", "10.0.0.1, 1.1.1.1") if each in found]
    assert "" in Proxies(unix=True)
    with pytest.raises(UsageError, match="no address of a proxy"):
        Proxies(["proxy.example"])


@pytest.mark.requirement("server_frame:one-declaration")
async def test_two_routes_that_are_the_same_are_refused_when_the_table_is_made() -> None:
    async with serving() as served:
        service: Service = served.service
        with pytest.raises(UsageError, match="declared twice"):
            make_app(service, (*TRIAL, route("/who", who)))


class Perhaps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query."""

    until: int | None = None


class Counted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body."""

    count: int
    ratio: float = 0.0


async def count(call: Call[None, None, Counted]) -> Counted:
    """Returns the body."""
    return call.body


@pytest.mark.requirement("server_frame:problems")
async def test_a_whole_number_is_one_however_it_is_written_and_words_are_none() -> None:
    async with serving(routes=(*TRIAL, route("/count", count, "POST"))) as served:
        for body, status in (
            ('{"count": 2.0, "ratio": 1}', 200),
            ('{"count": 2}', 200),
            ('{"count": 2.5}', 400),
            ('{"count": "2"}', 400),
            ('{"count": 1e300}', 400),
            ('{"count": 2.0, "more": 1}', 400),
            ('{"count": 2.0, "ratio": "1"}', 400),
        ):
            async with served.client.post("/count", data=body, headers={"content-type": "application/json"}) as answer:
                assert answer.status == status, body
                assert status == 400 or (await answer.json())["count"] == 2


async def perhaps(call: Call[None, Perhaps, None]) -> Perhaps:
    """Returns the query."""
    return call.query


@pytest.mark.requirement("server_frame:problems")
async def test_nothing_is_said_in_a_query_by_leaving_it_out_and_not_by_null() -> None:
    async with serving(routes=(*TRIAL, route("/perhaps", perhaps))) as served:
        for query, status in (("", 200), ("?until=1", 200), ("?until=null", 400), ("?until=", 400)):
            async with served.client.get(f"/perhaps{query}") as answer:
                assert answer.status == status, query
