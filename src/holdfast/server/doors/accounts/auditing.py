"""The record of what was decided, for admins: those of the server see all of it, others their own tenant's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from holdfast.server.access.naming import HOME, TenantName
from holdfast.server.doors.accounts.reaching import Limit, governed_of, iso, tenant_for
from holdfast.server.governing.recording import Record
from holdfast.server.routing.route import Call, Route

__all__ = ("ROUTES",)


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the record."""

    day: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None
    """A day, in UTC; today where none is named."""
    after: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f-]{0,80}/\d{1,6}$")] = ""
    """What the page before said."""
    limit: Limit = 100
    tenant: TenantName | None = None


class RecordView(msgspec.Struct, frozen=True, kw_only=True):
    """One decision."""

    at: str | None
    record: Record


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the record, the oldest first."""

    day: str
    records: tuple[RecordView, ...]
    after: str
    """After which to go on; empty at the end. A page may be empty, and not the last."""
    lost: int
    """Decisions that this process could not record since it began."""


async def read_audit(call: Call[None, AuditQuery, None]) -> AuditView:
    """Returns what was decided about who may on a day, page by page: who asked for what, and whether they were let."""
    governed, query = governed_of(call), call.query
    whole = call.who.tenant == HOME and query.tenant is None
    tenant = None if whole else tenant_for(call.who, query.tenant)
    day = query.day or datetime.fromtimestamp(governed.clock.now() / 1e6, UTC).date().isoformat()
    page = await governed.audit.read(tenant, day, query.after, query.limit)
    return AuditView(
        day=day,
        records=tuple(RecordView(at=iso(each.at), record=each) for each in page.records),
        after=page.after,
        lost=governed.audit.lost,
    )


ROUTES = (Route(method="GET", path="/v1/audit", handle=read_audit, scope="admin", tag="audit", errors=(404,)),)
