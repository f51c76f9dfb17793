"""Logs and blobs for the tests of collections: streams that are written to by hand, and trees that are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import final

import msgspec

from holdfast.engine.events import CODEC, RunStarted, ToolFinished, ToolStarted
from holdfast.engine.letters import Prompt, Setup
from holdfast.errors import SandboxError
from holdfast.flow.clock import Clock
from holdfast.flow.ids import new_batch
from holdfast.journal.owning import to_record
from holdfast.journal.port import Journal, Letter
from holdfast.runtime.history.collecting import Keeper, collect
from holdfast.runtime.history.reports import Collected, Retention
from holdfast.storage.blobs import BlobStore
from holdfast.types import (
    CallId,
    Digest,
    Effect,
    Event,
    EventId,
    Payload,
    SnapshotRef,
    StreamId,
    TenantId,
    Text,
    ToolResult,
    UserMessage,
    WorkerId,
    tenant_of,
)

__all__ = ("DAY", "LOCAL", "Store", "Trees", "finished", "prompt", "started", "used")

LOCAL = TenantId("local")
DAY = 24 * 3600
_NOWHERE = Digest("")
_WORKER = WorkerId("w")


@final
class Trees(Keeper):
    """Keeps trees as a manifest that lists the contents."""

    def __init__(self, blobs: BlobStore, tenant: TenantId) -> None:
        self._blobs = blobs
        self._tenant = tenant
        self.dropped: list[SnapshotRef] = []

    async def take(self, *contents: bytes, paths: tuple[str, ...] = ()) -> SnapshotRef:
        digests = await self._blobs.put_many(self._tenant, contents)
        manifest = await self._blobs.put(self._tenant, msgspec.json.encode(digests))
        return SnapshotRef("list", manifest, paths, whole=not paths)

    async def digests(self, ref: SnapshotRef) -> AsyncIterator[Digest]:
        try:
            manifest = await self._blobs.get(self._tenant, ref.manifest)
        except KeyError:
            raise SandboxError("lost") from None
        for digest in msgspec.json.decode(manifest, type=list[Digest]):
            yield digest

    async def drop(self, ref: SnapshotRef) -> None:
        self.dropped.append(ref)

    async def whole(self, ref: SnapshotRef) -> bool:
        """Whether all of it is there."""
        if not await self._blobs.has(self._tenant, ref.manifest):
            return False
        return all([await self._blobs.has(self._tenant, digest) async for digest in self.digests(ref)])


class Store:
    """A journal that is written to without a run."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self.journal = journal
        self.clock = clock
        self._trees: dict[TenantId, Trees] = {}

    def trees(self, tenant: TenantId = LOCAL) -> Trees:
        return self._trees.setdefault(tenant, Trees(self.journal.blobs, tenant))

    def keepers(self, tenant: TenantId) -> Mapping[str, Keeper]:
        return {"list": self.trees(tenant)}

    async def write(self, stream: StreamId, *payloads: Payload) -> int:
        """Appends events, as an owner would; returns the number of the last."""
        claim = await self.journal.claim(stream, _WORKER, 10_000_000)
        head = claim.head
        records = [
            to_record(
                Event(
                    seq=head.seq + number,
                    id=EventId(f"e{head.seq + number}"),
                    type=payload.type,
                    at=self.clock.now(),
                    epoch=head.epoch,
                    tenant=tenant_of(stream),
                    data=payload,
                ),
                CODEC,
            )
            for number, payload in enumerate(payloads, 1)
        ]
        await self.journal.append(stream, head.epoch, head.seq, new_batch(), records)
        await self.journal.release(stream, head.epoch)
        return head.seq + len(payloads)

    async def say(self, stream: StreamId, spec: Digest, key: str) -> None:
        """Posts a prompt that nobody takes."""
        body = msgspec.json.encode(prompt(spec))
        await self.journal.post(stream, Letter(key=key, kind="prompt", body=body))

    async def collect(self, *, tenant: TenantId | None = None, keep: Retention | None = None) -> Collected:
        return await collect(self.journal, self.keepers, tenant=tenant, clock=self.clock, keep=keep)


def prompt(spec: Digest) -> Prompt:
    return Prompt(UserMessage((Text("go"),)), Setup(spec, "openai/x"))


def used(spec: Digest) -> RunStarted:
    return RunStarted(1, Setup(spec, "openai/x"))


def started(call: str, snapshot: SnapshotRef | None = None) -> ToolStarted:
    return ToolStarted(CallId(call), Effect(True), snapshot)


def finished(call: str, content: str = "ok", stored: Digest = _NOWHERE) -> ToolFinished:
    return ToolFinished(CallId(call), ToolResult(content, stored=stored))
