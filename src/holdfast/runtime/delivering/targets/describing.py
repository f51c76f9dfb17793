"""A delivery as JSON: what a folder keeps of it, and what an endpoint is sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec

from holdfast.engine.letters import Status
from holdfast.runtime.delivering.port import Delivery
from holdfast.types import Digest, SessionId, TenantId, Usage

__all__ = ("AttachedJson", "CloudEvent", "DeliveryJson", "described", "enveloped")


class AttachedJson(msgspec.Struct, frozen=True):
    """A file of a delivery."""

    name: str
    media_type: str
    digest: Digest
    size: int
    data: bytes | None = None
    """Its bytes, base64; None where they are not sent along."""


class DeliveryJson(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery."""

    id: str
    session: SessionId
    run: int
    status: Status
    reason: str
    output: str
    error: str
    attachments: tuple[AttachedJson, ...]
    usage: Usage
    cost: float | None
    """US dollars; null when a price was unknown."""
    steps: int


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery in the envelope of CloudEvents 1.0, in its structured mode."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    """Of the delivery: the same however often it is sent."""
    source: str
    """Of which session."""
    type: str
    subject: str
    """Which run."""
    time: str
    """When it was sent."""
    datacontenttype: Literal["application/json"] = "application/json"
    data: DeliveryJson


def enveloped(told: DeliveryJson, tenant: TenantId, now: int) -> CloudEvent:
    """Returns a delivery in an envelope, at a time in seconds since 1970."""
    return CloudEvent(
        id=told.id,
        source=f"/holdfast/{tenant}/sessions/{told.session}",
        type=f"holdfast.run.{told.status}",
        subject=f"runs/{told.run}",
        time=datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z"),
        data=told,
    )


def described(delivery: Delivery, data: dict[str, bytes] | None = None) -> DeliveryJson:
    """Returns a delivery as it is written, with the bytes of its files by their names, where they go along."""
    held = data or {}
    return DeliveryJson(
        id=delivery.id,
        session=delivery.session,
        run=delivery.run,
        status=delivery.status,
        reason=delivery.reason,
        output=delivery.output,
        error=delivery.error,
        attachments=tuple(
            [
                AttachedJson(each.name, each.media_type, each.digest, each.size, held.get(each.name))
                for each in delivery.attachments
            ]
        ),
        usage=delivery.usage,
        cost=delivery.cost,
        steps=delivery.steps,
    )
