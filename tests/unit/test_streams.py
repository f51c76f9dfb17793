"""What a command is given to read: a file in memory that it cannot change, and errors that are bounded."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from holdfast.errors import SandboxError
from holdfast.sandbox.output import Streams
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.snippets.backend import WasmSnippets

pytestmark = pytest.mark.requirement("commands:input-and-errors-apart")


def test_what_is_given_is_read_whole_each_time_and_changed_by_nobody() -> None:
    streams = Streams(b"x" * 3_000_000)
    for _ in range(2):
        descriptor = streams.opened()
        try:
            if sys.platform == "linux":
                for change in (
                    lambda: os.write(descriptor, b"y"),  # noqa: B023 - called at once
                    lambda: os.ftruncate(descriptor, 0),  # noqa: B023
                    lambda: os.ftruncate(descriptor, 1 << 30),  # noqa: B023
                ):
                    with pytest.raises(PermissionError):
                        change()
            with open(descriptor, "rb", closefd=False) as file:
                assert file.read() == streams.given
        finally:
            os.close(descriptor)


def test_a_quota_of_output_bounds_the_errors_too() -> None:
    seen: list[bytes] = []
    streams = Streams(keep=100, watch=seen.append)
    for most, kept in ((None, 100), (200, 100), (10, 10)):
        streams.bound(most)
        streams.errors.feed(b"x" * 300)
        assert len(streams.errors.raw()) == kept
    assert len(seen) == 3


async def test_a_snippet_has_neither(tmp_path: Path) -> None:
    pytest.importorskip("wasmtime")
    backend = await WasmSnippets.open(Profile(backend="wasm"), tmp_path)
    call = backend.run(["python", "-c", "1"], folder=tmp_path, env={}, timeout=5, keep=10, streams=Streams(b"x"))
    with pytest.raises(SandboxError, match="take native"):
        await call
    await backend.close()
