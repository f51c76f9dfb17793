"""`tls: skip` at one of several endpoints, and values that a host brings back later."""

from __future__ import annotations

import asyncio
import base64
from itertools import permutations
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.egressing import PYTHON, READ, READ_PLAIN, SECURE, Upstream, allowing, answer, egress, read_head, status

from holdfast.sandbox.egress.answers import Refused
from holdfast.sandbox.egress.credentials import Credential
from holdfast.sandbox.egress.deciding import Client, Deciding
from holdfast.sandbox.egress.identity import Peer
from holdfast.sandbox.egress.parsing.authorities import Authority
from holdfast.sandbox.policy.judging import Ask, Judge
from holdfast.sandbox.policy.openshell import Binary, Endpoint, NetworkPolicy, Policy

SKIPPED = Endpoint(host="api.example.com", port=443, protocol="rest", access="read-only", tls="skip", path="/public/**")
ENFORCED = Endpoint(host="api.example.com", port=443, protocol="rest", access="read-only", enforcement="enforce")
ASKED = b"%s %s HTTP/1.1\r\nHost: api.example.com\r\n%s\r\n"


@pytest.mark.requirement("sandbox:egress-skip-agrees")
@pytest.mark.parametrize("endpoints", [*permutations((SKIPPED, ENFORCED))], ids=["skip first", "enforced first"])
async def test_an_endpoint_that_nobody_may_look_into_does_not_open_another_that_enforces(
    tmp_path: Path, endpoints: tuple[Endpoint, ...]
) -> None:
    upstream = Upstream(host="api.example.com", port=443)
    async with egress(tmp_path, allowing(*endpoints), upstream) as world:
        async with world.tunnel("api.example.com:443", host="api.example.com") as (reader, writer):
            writer.write(ASKED % (b"DELETE", b"/x", b""))
            assert status(await answer(reader)) == 403
        async with world.tunnel("api.example.com:443", host="api.example.com") as (reader, writer):
            writer.write(ASKED % (b"GET", b"/x", b""))
            assert status(await answer(reader)) == 200
    assert [each.split(b" ")[0] for each in upstream.seen] == [b"GET"]


ENDPOINTS = st.builds(
    Endpoint,
    host=st.just("api.example.com"),
    port=st.just(443),
    path=st.sampled_from(["", "/a/**"]),
    protocol=st.sampled_from(["rest", "rest", "", "mcp"]),
    access=st.sampled_from(["read-only", "full"]),
    tls=st.sampled_from(["", "skip", "skip"]),
    enforcement=st.sampled_from(["", "audit", "enforce"]),
    allow_encoded_slash=st.booleans(),
)
SIDES = st.lists(st.lists(ENDPOINTS, min_size=1, max_size=2), min_size=1, max_size=2)
ASKS = [(method, path) for method in ("GET", "DELETE") for path in ("/a/x", "/b", "/a%2Fb", "/a%5Cb")]


def policy_of(sides: list[list[Endpoint]]) -> Policy:
    return Policy(
        network_policies={
            f"p{n}": NetworkPolicy(endpoints=tuple(each), binaries=(Binary(path=f"/bin/{n}"),))
            for n, each in enumerate(sides)
        }
    )


def happens(deciding: Deciding, programs: list[tuple[str, ...]], method: str, path: str) -> bool:
    """What becomes of a request over TLS in a tunnel, as `tunnelling.py` has it."""
    client, to = Client(None), Authority("api.example.com", 443)  # type: ignore[arg-type]
    client.peers = tuple(Peer(n + 1, each) for n, each in enumerate(programs))
    try:
        made = deciding.connect(client, to)
        if not made.inspect:
            return True
        return not made.sealed and deciding.request(client, to, method, path, "", secure=True).allowed
    except Refused:
        return False


@pytest.mark.requirement("sandbox:egress-skip-agrees")
@settings(deadline=None)
@given(SIDES, st.booleans())
def test_what_is_explained_is_what_happens_in_any_order(sides: list[list[Endpoint]], together: bool) -> None:
    programs = tuple(f"/bin/{n}" for n in range(len(sides)))
    asking = [programs] if together else [programs[:1]]
    for method, path in ASKS:
        said: set[bool] = set()
        for some in permutations([each[::step] for each in sides] for step in (1, -1)):
            for order in some:
                policy = policy_of(order)
                deciding = Deciding(policy, None, lambda _: None, frozenset())
                ask = Ask("api.example.com", 443, asking[0], method, path, secure=True)
                explained = Judge(policy).request(ask).allowed
                assert happens(deciding, asking, method, path) is explained, (method, path)
                said.add(explained)
        assert len(said) == 1


@pytest.mark.requirement("sandbox:egress-skip-agrees")
@given(ENDPOINTS, ENDPOINTS)
def test_of_several_holders_each_has_to_be_left_alone_for_a_connection_to_stay_unread(
    one: Endpoint, two: Endpoint
) -> None:
    deciding = Deciding(policy_of([[one], [two]]), None, lambda _: None, frozenset())
    client, to = Client(None), Authority("api.example.com", 443)  # type: ignore[arg-type]
    single = []
    for programs in (("/bin/0",), ("/bin/1",)):
        client.peers = (Peer(1, programs),)
        single.append(deciding.connect(client, to))
    client.peers = (Peer(1, ("/bin/0",)), Peer(2, ("/bin/1",)))
    both = deciding.connect(client, to)
    assert both.inspect is any(each.inspect for each in single)
    assert both.sealed is all(each.sealed for each in single)


KEY = Credential(key="API_KEY", value="sk-very-secret-0123456789", hosts=("api.example.com",))
NAMED = "openshell:resolve:env:API_KEY"


async def remembering(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Tells each who asks what the last one who authorised himself had, in several forms; a piece where asked to."""
    while head := await read_head(reader):
        upstream.seen.append(head)
        held = next((each for each in reversed(upstream.seen) if b"Authorization: Bearer " in each), b"")
        value = held.partition(b"Bearer ")[2].partition(b"\r\n")[0]
        forms = [value, *(base64.b64encode(b"u" * n + b":" + value) for n in range(3))]
        body = b" ".join([*forms, base64.urlsafe_b64encode(b"x" + value)])
        body = body[:12] if b"Range: " in head else body
        writer.write(b"HTTP/1.1 200 OK\r\nX-Last: %b\r\nContent-Length: %d\r\n\r\n%b" % (value, len(body), body))
        await writer.drain()


@pytest.mark.requirement("sandbox:egress-credentials-later")
async def test_a_value_does_not_come_back_with_a_later_answer_in_any_form(tmp_path: Path) -> None:
    upstream = Upstream(remembering, host="api.example.com", port=443)
    async with egress(tmp_path, allowing(SECURE), upstream, credentials=[KEY]) as world:
        got = b""
        for line in (f"Authorization: Bearer {NAMED}\r\n", "", "Accept-Encoding: gzip\r\n", "Range: bytes=0-11\r\n"):
            async with world.tunnel("api.example.com:443", host="api.example.com") as (reader, writer):
                writer.write(ASKED % (b"GET", b"/", line.encode()))
                got = await answer(reader)
            assert b"X-Last: " + b"*" * len(KEY.value) in got
            for form in (
                KEY.value.encode(),
                *(base64.b64encode(b"u" * n + KEY.value.encode())[4:20] for n in range(4)),
            ):
                assert form not in got
            assert b"Accept-Encoding: identity\r\n" in upstream.seen[-1]
            assert b"Range" not in upstream.seen[-1]
        assert b"gzip" not in upstream.seen[-2]


@pytest.mark.requirement("sandbox:egress-credentials-later")
async def test_a_value_does_not_come_back_from_another_port_of_its_host(tmp_path: Path) -> None:
    bound = msgspec.structs.replace(KEY, hosts=("api.example.com:443",))

    async def telling(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(KEY.value), KEY.value.encode()))
        await writer.drain()

    async with egress(tmp_path, allowing(READ_PLAIN), Upstream(telling), credentials=[bound]) as world:
        got = await world.get("http://api.example.com/public/x")
        assert (status(got), got.endswith(b"*" * len(KEY.value))) == (200, True)


@pytest.mark.requirement("sandbox:policy-never-passes")
async def test_a_request_with_a_body_that_nobody_reads_does_not_pass_as_one_that_listens(tmp_path: Path) -> None:
    mcp = msgspec.structs.replace(READ, port=80, protocol="mcp", rules=None)
    upstream = Upstream()
    async with egress(tmp_path, allowing(mcp, binaries=[PYTHON]), upstream) as world:
        assert status(await world.get("http://api.example.com/mcp")) == 200
        body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send"}}'
        got = await world.get("http://api.example.com/mcp", f"Content-Length: {len(body)}", body=body)
        assert status(got) == 403
    assert len(upstream.seen) == 1
