"""Where calls over gRPC may lead: names that change their mind, numbers in disguise, proxies, and certificates."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.conformance.peers.grpc import GrpcServer
from tests.conformance.peers.serving import contract_answer
from tests.loopback import serving

from holdfast.testing.conformance.transports.calling import context, elsewhere
from holdfast.tools.elsewhere.attempting import Attempts
from holdfast.tools.transports.grpc import Grpc
from holdfast.types import ToolResult

pytest.importorskip("grpc")
PATIENT = Attempts(timeout=60)


async def echoing(method: str, body: bytes, context: Any) -> bytes:
    return contract_answer("works", json.loads(body))


async def called(transport: Grpc, attempts: Attempts = PATIENT) -> ToolResult:
    outcome = await elsewhere(transport, attempts).run({"text": "hello"}, context())
    assert isinstance(outcome, ToolResult)
    return outcome


def code_of(result: ToolResult) -> str:
    assert result.error is not None
    return result.error.code


@pytest.mark.requirement("calls:grpc-guard")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]"])
async def test_a_private_address_is_not_dialled_in_whatever_form(host: str) -> None:
    async with serving() as server:
        transport = Grpc(f"grpc://{host}:{server.port}")
        assert code_of(await called(transport)) == "permission_denied"
        await transport.close()
        assert server.connections == 0


@pytest.mark.requirement("calls:grpc-guard")
async def test_a_name_that_leads_elsewhere_later_is_judged_anew_when_it_is_dialled_anew() -> None:
    answers: list[Sequence[str]] = [["127.0.0.1"], ["169.254.169.254"], ["169.254.169.254", "127.0.0.1"]]

    async def resolve(host: str, port: int) -> Sequence[str]:
        assert host == "tools.example"
        return answers.pop(0)

    async with GrpcServer(echoing) as server:
        transport = Grpc(f"grpc://tools.example:{server.port}", private=True, resolve=resolve)
        assert (await called(transport)).error is None
        assert (await called(transport)).error is None  # over the connection that stands
        assert len(answers) == 2
        await transport.close()
        assert code_of(await called(transport)) == "permission_denied"
        assert (await called(transport)).error is None  # of two, only the one that may
        await transport.close()


@pytest.mark.requirement("calls:grpc-guard")
async def test_of_two_families_the_one_that_answers_is_used_and_the_service_is_told_its_name() -> None:
    seen: list[str] = []

    async def answer(method: str, body: bytes, context: Any) -> bytes:
        seen.append(context.peer())
        return await echoing(method, body, context)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["::1", "127.0.0.1"]

    async with GrpcServer(answer) as server:
        transport = Grpc(f"grpc://tools.example:{server.port}", private=True, resolve=resolve)
        assert (await called(transport)).error is None
        await transport.close()
    assert "127.0.0.1" in seen[0]


@pytest.mark.requirement("calls:grpc-guard")
async def test_a_name_without_an_address_is_an_error_that_may_be_tried_again() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    for transport in (
        Grpc("grpc://tools.example:1", private=True, resolve=resolve),
        Grpc(f"grpc://{'x' * 70}.example:1", private=True),
    ):
        result = await called(transport)
        assert code_of(result) == "execution_failed"
        assert "was not reached" in result.content


@pytest.mark.requirement("calls:grpc-guard")
async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as proxy, GrpcServer(echoing) as server:
        for name in ("grpc_proxy", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        transport = Grpc(f"grpc://127.0.0.1:{server.port}", private=True)
        assert (await called(transport)).error is None
        await transport.close()
        assert proxy.connections == 0


@pytest.mark.requirement("calls:grpc-tls")
async def test_tls_is_spoken_with_the_name_of_the_address_and_with_no_other() -> None:
    key, certificate = _self_signed("tools.example")

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async def outcome(name: str, port: int, roots: bytes | None) -> ToolResult:
        transport = Grpc(f"grpcs://{name}:{port}", private=True, roots=roots, resolve=resolve)
        try:
            return await called(transport)
        finally:
            await transport.close()

    async with GrpcServer(echoing, key=key, certificate=certificate) as server, GrpcServer(echoing) as plain:
        assert (await outcome("tools.example", server.port, certificate)).error is None
        other = await outcome("other.example", server.port, certificate)
        untrusted = await outcome("tools.example", server.port, None)
        unspoken = await outcome("tools.example", plain.port, certificate)
        transport = Grpc(f"grpc://127.0.0.1:{server.port}", private=True)  # without TLS where it is spoken
        assert code_of(await called(transport)) == "execution_failed"
        await transport.close()
    for result in (other, untrusted, unspoken):
        assert code_of(result) == "execution_failed"
        assert "was not reached" in result.content


@pytest.mark.requirement("calls:grpc-channels")
async def test_one_that_takes_the_connection_and_says_nothing_is_left_in_time() -> None:
    async with serving(reads=False) as server:
        transport = Grpc(f"grpc://127.0.0.1:{server.port}", private=True)
        calls = [called(transport, Attempts(timeout=0.2)) for _ in range(5)]
        assert [code_of(each) for each in await asyncio.gather(*calls)] == ["timeout"] * 5
        await transport.close()
        assert server.connections == 1


def _self_signed(name: str) -> tuple[bytes, bytes]:
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    whose, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(whose)
        .issuer_name(whose)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return private, certificate.public_bytes(serialization.Encoding.PEM)
