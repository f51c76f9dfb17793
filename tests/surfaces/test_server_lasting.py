"""Streams end when whoever opened them may no longer, and nobody else's do."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from tests.running import soon
from tests.serving import Serving, serving

from holdfast import Runtime
from holdfast.flow.clock import Clock
from holdfast.server.access.keys.key import Wish
from holdfast.server.access.principal import Role
from holdfast.server.access.settings import AccessSettings
from holdfast.server.governing.opening import Governed, governed
from holdfast.server.parts import Bounds
from holdfast.testing.clock import FakeClock
from holdfast.types import TenantId

HOME = TenantId("local")
BEATS = Bounds(heartbeat=0.1)


@asynccontextmanager
async def kept(clock: Clock | None = None, **settings: Any) -> AsyncGenerator[tuple[Serving, Governed]]:
    """Serves a session `s` in which nothing happens."""
    clock = clock or FakeClock()
    async with (
        Runtime.open("memory:", clock=clock) as runtime,
        governed(runtime, clock, AccessSettings(**settings)) as who,
        serving(runtime=runtime, access=who.access, bounds=BEATS) as served,
    ):
        await runtime.create("s")
        yield served, who


async def key(who: Governed, role: Role = "writer", **more: Any) -> tuple[str, dict[str, str]]:
    made, text = await who.keys.create(Wish(tenant=HOME, user="ada", role=role, **more))
    who.access.closes()
    return made.id, {"authorization": f"Bearer {text}"}


@asynccontextmanager
async def following(served: Serving, headers: dict[str, str]) -> AsyncGenerator[aiohttp.ClientResponse]:
    async with served.client.get("/v1/sessions/s/events?until=forever", headers=headers) as answer:
        assert answer.status == 200
        yield answer


async def beats(answer: aiohttp.ClientResponse, times: int) -> None:
    """Reads so many heartbeats."""
    while times:
        line = await answer.content.readline()
        assert line and b"error" not in line
        times -= line.startswith(b":")


@pytest.mark.requirement("server_access:streams-end")
async def test_a_key_that_is_revoked_ends_its_streams_and_sockets_and_those_of_no_other() -> None:
    async with kept(required=True) as (served, who):
        id_, gone = await key(who)
        _, other = await key(who)
        async with (
            following(served, gone) as stream,
            following(served, other) as stays,
            served.client.ws_connect("/v1/sessions/s/stream?until=forever", headers=gone) as ws,
        ):
            await soon(beats(stream, 3))
            await who.keys.revoke(HOME, id_)
            told = (await soon(stream.read())).decode()
            assert "event: error" in told and "key_revoked" in told
            texts = [json.loads(each.data) async for each in ws]
            assert texts[-1]["code"] == "key_revoked"
            await soon(beats(stays, 25))


@pytest.mark.requirement("server_access:streams-end")
async def test_a_key_that_expires_is_forgotten_or_comes_to_have_less_ends_its_streams() -> None:
    clock = FakeClock()
    async with kept(clock, required=True) as (served, who):
        _, short = await key(who, expires_at=clock.now() + 5_000_000)
        async with following(served, short) as stream:
            await soon(beats(stream, 3))
            await clock.advance(6)
            assert b"key_expired" in await soon(stream.read())
        id_, removed = await key(who)
        async with following(served, removed) as stream:
            await soon(beats(stream, 3))
            await who.keys.forget(HOME, id_)
            assert b"unauthenticated" in await soon(stream.read())


@pytest.mark.requirement("server_access:streams-end")
async def test_many_streams_of_a_revoked_key_keep_nobody_out_who_comes_from_the_same_place() -> None:
    async with kept(required=True) as (served, who):
        id_, gone = await key(who)
        streams = [await served.client.get("/v1/sessions/s/events?until=forever", headers=gone) for _ in range(80)]
        await who.keys.forget(HOME, id_)
        for each in streams:
            assert b"unauthenticated" in await soon(each.read())
        _, fresh = await key(who)
        async with served.client.get("/v1/sessions", headers=fresh) as answer:
            assert answer.status == 200


@pytest.mark.requirement("server_access:streams-end")
async def test_what_was_open_to_all_ends_when_the_first_key_is_made() -> None:
    async with kept() as (served, who), following(served, {}) as stream:
        await soon(beats(stream, 3))
        await key(who)
        assert b"unauthenticated" in await soon(stream.read())
