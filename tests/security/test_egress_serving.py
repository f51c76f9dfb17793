"""What the sandbox's way out lets through, what it changes on the way, and what it says about both."""

from __future__ import annotations

import asyncio
import base64
import socket
from pathlib import Path

import msgspec
import pytest
from tests.egressing import (
    API,
    OTHER,
    PUBLIC,
    PYTHON,
    READ,
    READ_PLAIN,
    SECURE,
    Upstream,
    World,
    allowing,
    answer,
    denial,
    echo,
    egress,
    raw_echo,
    read_head,
    settles,
    status,
)

from holdfast.sandbox.egress.credentials import Credential
from holdfast.sandbox.policy.openshell import Endpoint

HTTPS = {"host": "api.example.com", "port": 443}
ASK = b"GET %b HTTP/1.1\r\nHost: api.example.com\r\n%b\r\n"


def secure_api(handler: object = echo) -> Upstream:
    return Upstream(handler, host="api.example.com", port=443)  # type: ignore[arg-type]


async def ask_inside(world: World, *lines: str, path: str = "/public/a", port: int = 443) -> bytes:
    async with world.tunnel(f"api.example.com:{port}", host="api.example.com") as (reader, writer):
        writer.write(ASK % (path.encode(), b"".join(line.encode() + b"\r\n" for line in lines)))
        return await answer(reader)


@pytest.mark.requirement("sandbox:egress-denial-body")
async def test_a_denial_says_what_was_denied_by_what_and_what_to_do(tmp_path: Path) -> None:
    async with egress(tmp_path, allowing(READ), secure_api()) as world:
        refused = await ask_inside(world, path="/private/a?token=geheim")
        body = denial(refused)
        assert status(refused) == 403
        assert {key: body[key] for key in ("error", "layer", "policy", "rule", "host", "port", "method", "path")} == {
            "error": "policy_denied",
            "layer": "request",
            "policy": "way",
            "rule": "api.example.com:443",
            "host": "api.example.com",
            "port": 443,
            "method": "GET",
            "path": "/private/a",
        }
        assert (body["binary"], body["rule_missing"]) == (PYTHON, False)
        assert body["next_steps"]
        nowhere = denial(await world.get("http://other.example.com/"))
        assert (nowhere["policy"], nowhere["rule_missing"]) == ("", True)
        assert "geheim" not in repr(world.log) + repr(body)


@pytest.mark.requirement("sandbox:egress-inspects-tls")
async def test_each_request_in_a_tunnel_is_judged_and_the_server_sees_only_the_allowed_ones(tmp_path: Path) -> None:
    upstream = secure_api()
    async with egress(tmp_path, allowing(READ), upstream) as world:
        async with world.tunnel("api.example.com:443", host="api.example.com") as (reader, writer):
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            for number in range(3):
                writer.write(ASK % (b"/public/%d" % number, b""))
                assert status(await answer(reader)) == 200
            writer.write(ASK % (b"/private", b""))
            assert status(await answer(reader)) == 403
        assert [each.split(b" ")[1] for each in upstream.seen] == [b"/public/0", b"/public/1", b"/public/2"]
        assert upstream.connections == 1
        assert world.verdicts[-1] == ("request", "denied")


@pytest.mark.requirement("sandbox:egress-inspects-tls")
async def test_plain_http_in_a_tunnel_is_judged_like_any_other(tmp_path: Path) -> None:
    async with egress(tmp_path, allowing(READ_PLAIN), Upstream()) as world:
        for path, code in ((b"/public/a", 200), (b"/private/a", 403)):
            async with world.tunnel("api.example.com:80") as (reader, writer):
                writer.write(ASK % (path, b""))
                assert status(await answer(reader)) == code


@pytest.mark.requirement("sandbox:egress-inspects-tls")
async def test_a_server_whose_certificate_nobody_vouches_for_gets_no_request(tmp_path: Path) -> None:
    wrong = Upstream(host="other.example.com", port=443)
    async with egress(tmp_path, allowing(READ), wrong) as world:
        refused = await ask_inside(world)
        assert (status(refused), denial(refused)["error"]) == (502, "upstream_untrusted")
        assert wrong.seen == []


@pytest.mark.requirement("sandbox:egress-inspects-tls")
async def test_what_has_to_be_read_and_cannot_be_is_refused(tmp_path: Path) -> None:
    skipped = msgspec.structs.replace(READ, tls="skip")
    async with egress(tmp_path, allowing(READ), secure_api(), inspecting=False) as world:
        with pytest.raises(ConnectionRefusedError, match=r"holdfast\[egress\]"):
            await ask_inside(world)
        world.proxy.update(allowing(SECURE))
        assert status(await ask_inside(world, path="/private")) == 200
    async with egress(tmp_path, allowing(skipped), secure_api()) as world:
        with pytest.raises(OSError):
            await ask_inside(world)
        assert "`tls: skip`" in world.log[-1].reason
        world.proxy.update(allowing(msgspec.structs.replace(skipped, enforcement="audit")))
        assert status(await ask_inside(world, path="/private")) == 200


@pytest.mark.requirement("sandbox:egress-log")
async def test_what_breaks_a_rule_that_is_not_enforced_passes_and_is_written_down(tmp_path: Path) -> None:
    audited = msgspec.structs.replace(READ, enforcement="audit")
    async with egress(tmp_path, allowing(audited), secure_api()) as world:
        assert status(await ask_inside(world, path="/private")) == 200
        assert world.verdicts == [("connection", "allowed"), ("request", "audit"), ("address", "allowed")]
        by = world.log[1]
        assert (by.binary, by.method, by.path, by.policy) == (PYTHON, "GET", "/private", "way")
        assert world.log[2].address == PUBLIC


@pytest.mark.requirement("sandbox:egress-live-update")
async def test_an_open_tunnel_ends_when_the_policy_no_longer_allows_it_and_others_stay(tmp_path: Path) -> None:
    web, other = Upstream(raw_echo), Upstream(raw_echo, address=OTHER)
    both = allowing(API, Endpoint(host="other.example.com", port=80))
    async with egress(tmp_path, both, web, other) as world:
        async with world.tunnel("api.example.com:80") as gone, world.tunnel("other.example.com:80") as kept:
            for reader, writer in (gone, kept):
                writer.write(b"one")
                assert await reader.readexactly(3) == b"one"
            world.proxy.update(allowing(Endpoint(host="other.example.com", port=80)))
            assert await gone[0].read() == b""
            kept[1].write(b"two")
            assert await kept[0].readexactly(3) == b"two"
        assert "the policy has changed" in world.log[-1].reason
        assert status(await world.get("http://api.example.com/")) == 403


@pytest.mark.requirement("sandbox:egress-live-update")
async def test_a_tunnel_that_would_have_to_be_read_now_ends(tmp_path: Path) -> None:
    async with (
        egress(tmp_path, allowing(SECURE), secure_api()) as world,
        world.tunnel("api.example.com:443", host="api.example.com") as (reader, writer),
    ):
        writer.write(ASK % (b"/private", b""))
        assert status(await answer(reader)) == 200
        world.proxy.update(allowing(READ))
        assert await reader.read() == b""
        assert (world.log[-1].verdict, "have to be read" in world.log[-1].reason) == ("denied", True)


@pytest.mark.requirement("sandbox:egress-live-update")
async def test_an_address_that_a_policy_closes_while_it_is_dialled_is_not_used(tmp_path: Path) -> None:
    upstream = Upstream()
    narrow = allowing(msgspec.structs.replace(API, allowed_ips=("10.0.0.0/8",)))

    def change(world: World) -> None:
        world.proxy.update(narrow)

    async with egress(tmp_path, allowing(API), upstream, on_dial=change) as world:
        assert status(await world.get("http://api.example.com/")) == 403
        world.proxy.update(allowing(API))
        with pytest.raises(ConnectionRefusedError, match="policy_denied"):
            async with world.tunnel("api.example.com:80"):
                pass
        assert (len(world.dialled), upstream.seen) == (2, [])


@pytest.mark.requirement("sandbox:egress-live-update")
async def test_a_request_under_way_ends_when_it_is_no_longer_allowed(tmp_path: Path) -> None:
    async def begin(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        await reader.read()

    async with egress(tmp_path, allowing(READ_PLAIN), Upstream(begin)) as world, world.client() as (reader, writer):
        writer.write(b"GET http://api.example.com/public/a HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
        await reader.readuntil(b"half")
        world.proxy.update(allowing(READ_PLAIN))  # nothing changes for it
        assert len(world.proxy._open) == 1
        world.proxy.update(allowing(msgspec.structs.replace(READ_PLAIN, rules=None, access="read-only", path="/x/**")))
        assert await reader.read() == b""


async def packed(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx")
    await writer.drain()


KEY = Credential(key="API_KEY", value="sk-very-secret-0123456789", hosts=("api.example.com",))
NAMED = "openshell:resolve:env:API_KEY"


@pytest.mark.requirement("sandbox:egress-credentials")
async def test_a_placeholder_becomes_its_value_on_the_way_out_and_what_comes_back_is_blotted(tmp_path: Path) -> None:
    upstream = secure_api()
    async with egress(tmp_path, allowing(SECURE), upstream, credentials=[KEY]) as world:
        for placeholder in (NAMED, world.proxy.placeholder("API_KEY")):
            got = await ask_inside(world, f"Authorization: Bearer {placeholder}", "Accept-Encoding: gzip")
            assert b"Authorization: Bearer sk-very-secret-0123456789\r\n" in upstream.seen[-1]
            assert b"Accept-Encoding: identity\r\n" in upstream.seen[-1]
            assert (status(got), b"Bearer " + b"*" * len(KEY.value) in got) == (200, True)  # it repeats what it saw
        basic = base64.b64encode(f"user:{NAMED}".encode()).decode()
        got = await ask_inside(world, f"Authorization: Basic {basic}")
        filled = base64.b64encode(f"user:{KEY.value}".encode())
        assert filled in upstream.seen[-1]
        assert filled not in got
        assert world.log[-2].credentials == ("API_KEY",)
        assert KEY.value not in repr(world.log) + repr(KEY)


@pytest.mark.requirement("sandbox:egress-credentials")
async def test_a_placeholder_goes_nowhere_it_is_not_bound_to(tmp_path: Path) -> None:
    bound = msgspec.structs.replace(KEY, key="OTHER_KEY", hosts=("other.example.com",))
    upstream, plain = secure_api(), Upstream()
    async with egress(tmp_path, allowing(SECURE, API), upstream, plain, credentials=[KEY, bound]) as world:
        for line in (
            "Authorization: Bearer openshell:resolve:env:OTHER_KEY",
            "Authorization: Bearer openshell:resolve:env:UNKNOWN",
            f"X-Debug: {NAMED}",
            f"Authorization: Bearer {world.proxy.placeholder('OTHER_KEY')}",
        ):
            refused = await ask_inside(world, line)
            assert (status(refused), denial(refused)["error"]) == (403, "credential_endpoint_mismatch")
        readable = await world.get("http://api.example.com/", f"Authorization: Bearer {NAMED}")
        assert (status(readable), "use https" in str(denial(readable)["detail"])) == (403, True)
        assert (upstream.seen, plain.seen) == ([], [])
        assert status(await ask_inside(world, f"Authorization: Bearer {NAMED}")) == 200


@pytest.mark.requirement("sandbox:egress-credentials")
async def test_an_answer_that_cannot_be_searched_for_the_value_is_held_back(tmp_path: Path) -> None:
    async with egress(tmp_path, allowing(SECURE), secure_api(packed), credentials=[KEY]) as world:
        assert status(await ask_inside(world, f"Authorization: Bearer {NAMED}")) == 502
        assert status(await ask_inside(world)) == 502  # it may bring what an earlier request had
    async with egress(tmp_path, allowing(READ), secure_api(packed)) as world:
        assert status(await ask_inside(world, path="/public/x")) == 200  # nothing is bound to that host


@pytest.mark.requirement("sandbox:egress-credentials")
async def test_no_value_is_filled_in_for_a_request_the_policy_denies(tmp_path: Path) -> None:
    async with egress(tmp_path, allowing(READ), secure_api(), credentials=[KEY]) as world:
        assert status(await ask_inside(world, f"Authorization: Bearer {NAMED}", path="/private")) == 403
        assert not any(each.credentials for each in world.log)


@pytest.mark.requirement("sandbox:egress-services")
@pytest.mark.parametrize("by_path", [True, False])
async def test_a_service_is_reached_by_its_name_without_a_look_up(tmp_path: Path, by_path: bool) -> None:
    path = tmp_path / "s"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(head) + head)
        await writer.drain()
        writer.close()

    async def connect() -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(made, str(path))
        except OSError:
            made.close()
            raise
        return made

    key = msgspec.structs.replace(KEY, hosts=("models.local",))
    services = {"models.local": path if by_path else connect}
    async with egress(tmp_path, allowing(), services=services, credentials=[key]) as world:
        server = await asyncio.start_unix_server(serve, str(path))
        got = await world.get("http://models.local/v1/models", f"Authorization: Bearer {NAMED}")
        assert (status(got), world.looked_up) == (200, [])
        async with world.tunnel("models.local:443", host="models.local") as (reader, writer):
            writer.write(b"GET /v1/models HTTP/1.1\r\nHost: models.local\r\n\r\n")
            assert status(await answer(reader)) == 200
        assert status(await world.get("http://other.local/")) == 403
        server.close()
        await server.wait_closed()
        path.unlink(missing_ok=True)
        assert status(await world.get("http://models.local/")) == 502


@pytest.mark.requirement("sandbox:egress-addresses")
async def test_private_addresses_are_reached_through_allowed_ips_alone(tmp_path: Path) -> None:
    inside = Upstream(address="10.0.0.5")
    names = {"api.example.com": ["10.0.0.5"], "other.example.com": ["10.9.0.5"]}
    ranged = msgspec.structs.replace(API, allowed_ips=("10.0.0.0/24",))
    others = msgspec.structs.replace(ranged, host="other.example.com")
    async with egress(tmp_path, allowing(ranged, others), inside, names=names) as world:
        assert status(await world.get("http://api.example.com/")) == 200
        assert status(await world.get("http://other.example.com/")) == 403
        world.proxy.update(allowing(API))
        assert status(await world.get("http://api.example.com/")) == 403
        assert world.dialled == ["10.0.0.5"]


@pytest.mark.requirement("sandbox:egress-strict-bodies")
async def test_bodies_of_every_framing_pass_both_ways_and_connections_are_used_again(tmp_path: Path) -> None:
    upstream = Upstream()
    async with egress(tmp_path, allowing(API), upstream) as world, world.client() as (reader, writer):
        big = b"x" * 300_000
        for framing, body in (
            (b"", b""),
            (b"Content-Length: 300000\r\n", big),
            (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        ):
            writer.write(
                b"POST http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n" + framing + b"\r\n" + body
            )
            got = await answer(reader)
            assert (status(got), upstream.seen[-1].endswith(body)) == (200, True)
        assert upstream.connections == 1


@pytest.mark.requirement("sandbox:egress-strict-bodies")
async def test_a_server_that_closed_a_connection_meanwhile_is_dialled_anew(tmp_path: Path) -> None:
    async def once(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()
        upstream.seen.append(b"closed")

    upstream = Upstream(once)
    async with egress(tmp_path, allowing(API), upstream) as world, world.client() as (reader, writer):
        for number in range(3):
            writer.write(b"GET http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
            assert status(await answer(reader)) == 200
            await settles(lambda: len(upstream.seen) == number + 1)  # noqa: B023 - waited for here
        assert upstream.connections == 3


@pytest.mark.requirement("sandbox:egress-tunnels")
async def test_an_upgrade_is_refused_where_requests_are_read(tmp_path: Path) -> None:
    async with egress(tmp_path, allowing(API), Upstream()) as world:
        refused = await world.get("http://api.example.com/", "Connection: Upgrade", "Upgrade: websocket")
        assert status(refused) == 403
        assert status(await world.get("http://api.example.com/", "Connection: Upgrade", "Upgrade: h2c")) == 200
