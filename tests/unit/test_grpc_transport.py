"""Calls over gRPC: the envelope, the statuses, channels that are kept, and a wire that may be missing."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
from typing import Any

import pytest
from tests.conformance.peers.grpc import GrpcServer
from tests.conformance.peers.serving import contract_answer

from holdfast.errors import UsageError
from holdfast.testing.conformance.transports.calling import context, elsewhere
from holdfast.tools.contract.messages import Asked, Limits, Request
from holdfast.tools.contract.taxonomy import TAXONOMY
from holdfast.tools.elsewhere.attempting import Attempts
from holdfast.tools.transports.grpc import INSTALL, ORLOJ_METHOD, Grpc
from holdfast.tools.transports.port import Errand, Unsent
from holdfast.tools.transports.rpc.places import place_of
from holdfast.types import ToolResult

pytest.importorskip("grpc")


async def echoing(method: str, body: bytes, context: Any) -> bytes:
    return contract_answer("works", json.loads(body))


def errand(headers: dict[str, str] | None = None, most: int = 1 << 20, timeout_ms: int = 60_000) -> Errand:
    request = Request(
        request_id="r", tool=Asked(name="peer"), input={"text": "hello"}, runtime=Limits(timeout_ms=timeout_ms)
    )
    return Errand(request=request, headers=headers or {}, context=context(), most=most)


async def called(transport: Grpc, attempts: Attempts | None = None) -> ToolResult:
    outcome = await elsewhere(transport, attempts or Attempts(timeout=60)).run({"text": "hello"}, context())
    assert isinstance(outcome, ToolResult)
    return outcome


@pytest.mark.requirement("calls:grpc-transport")
@pytest.mark.parametrize("method", ["/holdfast.tool.v1.ToolService/Execute", ORLOJ_METHOD])
async def test_a_service_gets_the_envelope_with_the_credentials_and_the_time_it_has(method: str) -> None:
    seen: list[Any] = []

    async def answer(method: str, body: bytes, context: Any) -> bytes:
        seen.append((method, json.loads(body), dict(context.invocation_metadata()), context.time_remaining()))
        return await echoing(method, body, context)

    async with GrpcServer(answer) as server:
        transport = Grpc(f"grpc://127.0.0.1:{server.port}", private=True, method=method)
        result = await transport.send(errand({"Authorization": "Bearer x", "X-Key-bin": "raw"}))
        await transport.close()
    assert (result.content, result.error) == ("hello", None)
    [(asked, envelope, metadata, left)] = seen
    assert asked == method
    assert (envelope["tool_contract_version"], envelope["tool"]["name"], envelope["input"]) == (
        "v1", "peer", {"text": "hello"},
    )  # fmt: skip
    assert (metadata["authorization"], metadata["x-tool-contract-version"]) == ("Bearer x", "v1")
    assert metadata["x-key-bin"] == b"raw"
    assert 50 < left < 61


STATUSES = {
    "UNAUTHENTICATED": ("auth_invalid", False),
    "PERMISSION_DENIED": ("auth_forbidden", False),
    "DEADLINE_EXCEEDED": ("timeout", True),
    "UNAVAILABLE": ("execution_failed", True),
    "RESOURCE_EXHAUSTED": ("execution_failed", True),
    "INTERNAL": ("execution_failed", True),
    "UNKNOWN": ("execution_failed", True),
    "ABORTED": ("execution_failed", True),
    "NOT_FOUND": ("execution_failed", False),
    "FAILED_PRECONDITION": ("execution_failed", False),
    "INVALID_ARGUMENT": ("invalid_input", False),
    "UNIMPLEMENTED": ("unsupported_tool", False),
    "CANCELLED": ("canceled", False),
}


@pytest.mark.requirement("calls:grpc-statuses")
@pytest.mark.parametrize("status", STATUSES)
async def test_a_status_is_an_error_of_the_taxonomy(status: str) -> None:
    async def answer(method: str, body: bytes, context: Any) -> bytes:
        from grpc import StatusCode

        await context.abort(getattr(StatusCode, status), "the\n  reason " + "x" * 5000)
        raise AssertionError

    async with GrpcServer(answer) as server:
        transport = Grpc(f"grpc://127.0.0.1:{server.port}", private=True)
        result = await called(transport)
        await transport.close()
    code, retryable = STATUSES[status]
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == (code, retryable)
    assert result.error.reason == TAXONOMY[code].reason
    assert status in result.content
    assert "the reason x" in result.content
    assert len(result.content) < 600
    assert result.metadata == {"grpc_status": status}


@pytest.mark.requirement("calls:grpc-oversize")
async def test_an_answer_that_is_packed_small_and_large_inside_is_not_unpacked() -> None:
    async def answer(method: str, body: bytes, context: Any) -> bytes:
        import grpc

        context.set_compression(grpc.Compression.Gzip)
        return b" " * (32 << 20)

    async with GrpcServer(answer) as server:
        transport = Grpc(f"grpc://127.0.0.1:{server.port}", private=True)
        result = await transport.send(errand(most=100_000))
        await transport.close()
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == ("execution_failed", False)
    assert "more than 100,000 bytes" in result.content


@pytest.mark.requirement("calls:grpc-channels")
async def test_one_connection_serves_all_calls_until_it_breaks() -> None:
    async with GrpcServer(echoing) as server:
        transport = Grpc(f"grpc://127.0.0.1:{server.far}", private=True)
        for result in await asyncio.gather(*(called(transport) for _ in range(30))):
            assert result.error is None
        assert (await called(transport)).error is None
        assert server.connections == 1
        server.cut_soon()
        results = [await called(transport, Attempts(timeout=60, most=3)) for _ in range(3)]
        assert [each.error for each in results] == [None] * 3
        assert server.connections == 2
        await transport.close()


@pytest.mark.requirement("calls:grpc-channels")
async def test_a_transport_that_is_closed_ends_its_calls_and_opens_again() -> None:
    begun = threading.Event()

    async def answer(method: str, body: bytes, context: Any) -> bytes:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        return await echoing(method, body, context)

    async with GrpcServer(answer) as server:
        transport = Grpc(f"grpc://127.0.0.1:{server.port}", private=True)
        task = asyncio.ensure_future(transport.send(errand()))
        await asyncio.to_thread(begun.wait, 5)
        await transport.close()
        result = await task
        assert result.error is not None
        assert result.error.code == "execution_failed"
        assert (await called(transport)).error is None
        await transport.close()


@pytest.mark.requirement("calls:grpc-channels")
async def test_two_loops_use_one_transport_and_no_thread_is_left() -> None:
    outcomes: list[ToolResult] = []

    async def many(transport: Grpc) -> None:
        outcomes.extend(await asyncio.gather(*(called(transport) for _ in range(20))))
        await transport.close()

    before = set(threading.enumerate())
    async with GrpcServer(echoing) as server:
        transport = Grpc(f"grpc://127.0.0.1:{server.port}", private=True)
        threads = [threading.Thread(target=lambda: asyncio.run(many(transport))) for _ in range(2)]
        for each in threads:
            each.start()
        await many(transport)
        for each in threads:
            await asyncio.to_thread(each.join)
    assert [each.error for each in outcomes] == [None] * 60
    gc.collect()
    left = [each for each in threading.enumerate() if each not in before and not each.name.startswith("asyncio_")]
    assert left == []


@pytest.mark.requirement("calls:grpc-missing")
async def test_without_the_library_a_call_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "holdfast.tools.transports.rpc.channels", raising=False)
    monkeypatch.setitem(sys.modules, "grpc", None)
    result = await called(Grpc("grpc://127.0.0.1:1", private=True), Attempts(most=3))
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == ("isolation_unavailable", False)
    assert INSTALL in result.content


@pytest.mark.requirement("calls:grpc-metadata")
@pytest.mark.parametrize(
    ("header", "value"),
    [("Authorization", "Bearer caf\u00e9"), ("Authorization", "a\r\nb"), ("grpc-timeout", "1S"), ("x y", "v")],
)
async def test_a_header_that_grpc_does_not_take_is_refused_without_its_value(header: str, value: str) -> None:
    transport = Grpc("grpc://127.0.0.1:1", private=True)
    with pytest.raises(Unsent) as refused:
        await transport.send(errand({header: value}))
    assert refused.value.result.error is not None
    assert refused.value.result.error.code == "secret_resolution_failed"
    assert value not in refused.value.result.content


@pytest.mark.requirement("calls:grpc-addresses")
@pytest.mark.parametrize(
    "address",
    ["tools.example:443", "http://h:1", "grpc://h", "grpcs://", "grpcs://u:p@h:1", "grpcs://h:1/path", "grpcs://h:x",
     "grpcs://h:1?q=1", "unix:///tmp/s", "grpcs://h:0", "grpcs://[::1", ""],
)  # fmt: skip
def test_what_is_no_address_is_refused_where_it_is_declared(address: str) -> None:
    with pytest.raises(UsageError) as refused:
        place_of(address)
    assert ":p@" not in str(refused.value)


@pytest.mark.requirement("calls:grpc-addresses")
def test_an_address_is_a_host_and_a_port_and_whether_tls_is_spoken() -> None:
    assert str(place_of("grpcs://Tools.Example.")) == "grpcs://tools.example:443"
    assert str(place_of("grpc://[::1]:50051/")) == "grpc://[::1]:50051"
    assert place_of("grpcs://b\u00fccher.example").host == "xn--bcher-kva.example"
    with pytest.raises(UsageError):
        Grpc("grpcs://h", private=True, method="Execute")
