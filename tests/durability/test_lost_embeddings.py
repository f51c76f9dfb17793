"""What a process took out of an account for vectors and did not live to end."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.loopback import Request, Server, serving
from tests.running import soon, until

from holdfast import Runtime
from holdfast.flow.ids import worker_name
from holdfast.ledger.amounts import Amount, Cap
from holdfast.ledger.port import Denied

MODEL = "openai/text-embedding-3-small"
WORDS = "some words that are longer than they have to be"
DIES = f"""
import asyncio, sys
from holdfast import Runtime

async def main(url):
    async with Runtime.open(url) as runtime:
        await runtime.embed({MODEL!r}, [{WORDS!r}])

asyncio.run(main(sys.argv[1]))
"""


async def _killed(url: str, tmp_path: Path) -> None:
    """Has a process ask for vectors and die while it waits for them."""
    asked = asyncio.Event()

    async def silent(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        asked.set()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with serving(silent) as server:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", DIES, url), env={**os.environ, **_env(server)}, cwd=tmp_path
        )
        await soon(asked.wait(), 30)
        await until(lambda: len(server.requests) == 1)
        child.kill()
        await child.wait()


def _env(server: Server) -> dict[str, str]:
    return {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "sk-test-000000000000"}


@pytest.mark.requirement("ledger:lost-embeddings")
@pytest.mark.parametrize("by", ["sweep", "embed"])
async def test_what_a_killed_process_took_for_vectors_is_settled_by_whoever_comes_next(
    tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-000000000000")
    url = f"sqlite:///{tmp_path}/store.db"
    async with Runtime.open(url) as runtime:
        most = len(WORDS) + 16
        await runtime.ledger.set_caps(("local",), [Cap(tokens=most + 10, window=60_000_000)])
        await _killed(url, tmp_path)
        (left,) = await runtime.ledger.open_grants()
        assert (left.amount.tokens, left.path[0]) == (most, "local")
        await runtime.ledger.grant(("local", "user", "s", "r"), Amount(tokens=1), "of a run")
        mine = await runtime.ledger.grant(left.path, Amount(tokens=1), f"embed-{worker_name()}")
        assert not isinstance(mine, Denied)
        if by == "sweep":
            await runtime.sweep()
            assert len(await runtime.ledger.open_grants()) == 3, "others may be alive"
            await runtime.sweep(killed=True)
        else:
            denied = await runtime.embed(MODEL, [WORDS])
            assert isinstance(denied, Denied) and denied.again_at is not None, "it passes with the window"
        assert {each.key for each in await runtime.ledger.open_grants()} == {"of a run", mine.key}
        assert (await runtime.ledger.balance(("local",))).settled.tokens == most
