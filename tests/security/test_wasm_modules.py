"""Modules that are against us, and places they must not come from."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conformance.peers.wasm import assembled, printing
from tests.loopback import Request, Server, answer, serving

from holdfast.errors import UsageError
from holdfast.safety.addresses import PUBLIC, TRUSTED
from holdfast.sandbox.modules.port import ModuleLimits
from holdfast.sandbox.modules.wasi import SIGNATURES, Wasi
from holdfast.tools.transports.port import Unsent
from holdfast.tools.transports.wasm_modules.library import ModuleLibrary
from holdfast.tools.transports.wasm_modules.references import Reference, reference_of
from holdfast.types import ToolError

pytest.importorskip("wasmtime")
MODULE = printing(b"one")
DIGEST = hashlib.sha256(MODULE).hexdigest()


@pytest.fixture
async def library(tmp_path: Path) -> AsyncGenerator[ModuleLibrary]:
    (tmp_path / "modules").mkdir()
    opened = ModuleLibrary(tmp_path / "modules", tmp_path / "cache", policy=TRUSTED, largest=100_000)
    yield opened
    await opened.close()


async def refused(library: ModuleLibrary, reference: Reference) -> ToolError:
    with pytest.raises(Unsent) as unsent:
        await library.load("tool", reference)
    assert unsent.value.result.error is not None
    return unsent.value.result.error


def remote(server: Server, digest: str = "") -> Reference:
    """A reference as an https address makes one; what is served here is plain."""
    return Reference(f"{server.url}/m.wasm?key=secret", True, digest)


@pytest.mark.requirement("calls:wasm-reaches-nothing", "sandbox:wasm-limits")
async def test_no_function_of_the_system_opens_anything(library: ModuleLibrary, tmp_path: Path) -> None:
    """Every function with a path, a folder or a socket is called with every low descriptor; each has to fail."""
    secret = tmp_path / "secret"
    secret.write_text("canary")
    path = f"../../../../../../../..{secret}".encode()
    reaching = [name for name in SIGNATURES if name.startswith(("path_", "sock_", "fd_prestat", "fd_readdir"))]
    imports, calls = ['(memory (export "memory") 1)'], list[str]()
    for name in reaching:
        parameters = SIGNATURES[name].partition(":")[0]
        kinds = " ".join({"i": "i32", "I": "i64"}[each] for each in parameters)
        imports.insert(0, f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {kinds}) (result i32)))')
        for fd in range(6):
            given = [f"({'i64' if each == 'I' else 'i32'}.const {len(path)})" for each in parameters]
            given[0] = f"(i32.const {fd})"
            calls.append(f"(if (i32.eqz (call ${name} {' '.join(given)})) (then (unreachable)))")
    data = "".join(f"\\{byte:02x}" for byte in path)
    body = f'(data (i32.const 100) "{data}") (func (export "_start") {" ".join(calls)})'
    (tmp_path / "modules" / "m.wasm").write_bytes(assembled(body, imports=" ".join(imports)))
    loaded = await library.load("tool", reference_of("m.wasm"))
    end = await library.run(loaded, b"", ModuleLimits())
    assert (end.ended, end.why, end.output) == ("ok", "", b"")


class Random:
    """A memory that takes and gives what it is told to."""

    def __init__(self, size: int) -> None:
        self.size = size

    def read(self, start: int, length: int) -> bytes | None:
        return os.urandom(length) if start + length <= self.size else None

    def write(self, start: int, data: bytes) -> bool:
        return start + len(data) <= self.size


@pytest.mark.requirement("calls:wasm-fuzz")
@given(st.data())
def test_whatever_a_module_asks_for_is_answered_or_ends_it(data: st.DataObject) -> None:
    wasi = Wasi(data.draw(st.binary(max_size=50)), ModuleLimits(fuel=1_000_000, output=1000))
    memory, words = Random(data.draw(st.integers(0, 70_000))), st.integers(0, 100) | st.integers(0, 2**32 - 1)
    for _ in range(5):
        name = data.draw(st.sampled_from(sorted(SIGNATURES)))
        parameters = SIGNATURES[name].partition(":")[0]
        given_ = [data.draw(words if each == "i" else st.integers(0, 2**64 - 1)) for each in parameters]
        said = wasi.call(name, memory, given_)
        assert said is None or 0 <= said < 77
        if said is None:
            assert wasi.over or wasi.code is not None
            break
    assert len(wasi.output) <= 1000


@pytest.mark.requirement("calls:wasm-sources")
@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../m.wasm", "a/../../m.wasm", "./m.wasm", "a//m.wasm", "a\0b", "..\\m.wasm", "http://h/m.wasm",
     "HTTP://h/m.wasm", "file:///etc/passwd", "ftp://h/m", "https://", "https://u:p@h/m.wasm", "C:\\m.wasm"],
)  # fmt: skip
def test_a_reference_that_leads_out_is_refused_where_it_is_declared(name: str) -> None:
    with pytest.raises(UsageError) as error:
        reference_of(name)
    assert "u:p" not in str(error.value)


@pytest.mark.requirement("calls:wasm-sources")
async def test_no_link_leads_out_of_the_folder(library: ModuleLibrary, tmp_path: Path) -> None:
    (tmp_path / "outside.wasm").write_bytes(MODULE)
    folder = tmp_path / "modules"
    (folder / "link.wasm").symlink_to(tmp_path / "outside.wasm")
    (folder / "up").symlink_to(tmp_path)
    (folder / "in.wasm").write_bytes(MODULE)
    (folder / "big.wasm").write_bytes(bytes(100_001))
    os.mkfifo(folder / "pipe.wasm")
    assert (await refused(library, reference_of("link.wasm"))).code == "permission_denied"
    assert (await refused(library, reference_of("up/outside.wasm"))).code == "permission_denied"
    for name in ("absent.wasm", "big.wasm", "pipe.wasm", "in.wasm/x"):
        assert (await refused(library, reference_of(name))).code == "runtime_policy_invalid"
    assert (await library.load("tool", reference_of("in.wasm"))).digest == DIGEST


@pytest.mark.requirement("calls:wasm-pinned")
async def test_a_file_that_is_another_than_was_pinned_is_not_loaded(library: ModuleLibrary, tmp_path: Path) -> None:
    file = tmp_path / "modules" / "m.wasm"
    file.write_bytes(MODULE)
    pinned = reference_of("m.wasm", f"sha256:{DIGEST.upper()}")
    assert (await library.load("tool", pinned)).data == MODULE
    file.write_bytes(printing(b"two"))
    error = await refused(library, pinned)
    assert (error.code, error.retryable) == ("runtime_policy_invalid", False)
    for wrong in ("abc", DIGEST + "0", "md5:" + DIGEST):
        with pytest.raises(UsageError):
            reference_of("m.wasm", wrong)


async def _serve(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
    writer.write(answer(MODULE))


@pytest.mark.requirement("calls:wasm-fetched-once")
async def test_an_address_is_fetched_once_by_all_who_come_and_after_a_restart(
    library: ModuleLibrary, tmp_path: Path
) -> None:
    async with serving(_serve) as server:
        loaded = await asyncio.gather(*(library.load("tool", remote(server)) for _ in range(10)))
        assert {each.digest for each in loaded} == {DIGEST}
        again = ModuleLibrary(None, tmp_path / "cache")  # one that may not even reach it
        assert (await again.load("tool", remote(server, DIGEST))).data == MODULE
        await again.close()
        assert len(server.requests) == 1
        assert not list((tmp_path / "cache").rglob("*.new"))
        [kept] = (tmp_path / "cache" / "fetched").glob("*.wasm")
        kept.write_bytes(MODULE[:-1])  # damaged
        assert (await library.load("tool", remote(server))).data == MODULE
        assert len(server.requests) == 2
        kept.parent.chmod(0o777)
        assert (await refused(library, remote(server))).code == "runtime_policy_invalid"


@pytest.mark.requirement("calls:wasm-pinned")
async def test_what_is_fetched_and_is_not_what_was_pinned_is_not_kept(library: ModuleLibrary, tmp_path: Path) -> None:
    async with serving(_serve) as server:
        error = await refused(library, remote(server, "0" * 64))
        assert (error.code, error.retryable) == ("runtime_policy_invalid", False)
        assert not list((tmp_path / "cache").rglob("*.wasm"))


@pytest.mark.requirement("calls:wasm-fetched-once")
@pytest.mark.parametrize(
    ("said", "code", "retryable"),
    [
        (answer(b"", "503 Busy"), "execution_failed", True),
        (answer(b"", "404 Not Found"), "execution_failed", False),
        (answer(bytes(100_001)), "runtime_policy_invalid", False),
        (answer(MODULE, length=len(MODULE) + 10), "execution_failed", True),
        (answer(b"", "302 Found", "Location: http://169.254.169.254/m\r\n"), "permission_denied", False),
        (answer(b"", "302 Found", "Location: file:///etc/passwd\r\n"), "runtime_policy_invalid", False),
    ],
)
async def test_what_cannot_be_fetched_is_an_error_and_nothing_is_kept(
    library: ModuleLibrary, tmp_path: Path, said: bytes, code: str, retryable: bool
) -> None:
    async def handle(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        writer.write(said)
        writer.close()

    async with serving(handle) as server:
        with pytest.raises(Unsent) as unsent:
            await library.load("tool", remote(server))
    result = unsent.value.result
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == (code, retryable)
    assert b"secret" not in msgspec.json.encode(result)
    assert not list((tmp_path / "cache").rglob("*.wasm"))


@pytest.mark.requirement("calls:wasm-sources")
async def test_a_private_address_is_not_fetched_from(tmp_path: Path) -> None:
    library = ModuleLibrary(None, tmp_path / "cache", policy=PUBLIC)
    async with serving(_serve) as server:
        assert (await refused(library, remote(server))).code == "permission_denied"
        assert server.connections == 0
    await library.close()
