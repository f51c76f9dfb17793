"""Blobs as rows, written by the same thread as whatever refers to them.

A put that was handed in before an append is in the same commit or an earlier one: no record can outlive a power
cut that its blob did not.
"""

from __future__ import annotations

import hashlib
from typing import final

from holdfast.errors import StorageDamaged
from holdfast.flow.clock import Clock
from holdfast.storage.blobs import BlobStore
from holdfast.storage.migrating import Schema
from holdfast.storage.sqlite import Connection, Database
from holdfast.types import Digest, TenantId

__all__ = ("BLOBS", "SqliteBlobStore", "insert_blob")

BLOBS = Schema(
    "blobs",
    (
        (
            "create table blob (tenant text not null, digest text not null, size integer not null, "
            "bytes blob not null, created_at integer not null)",
            "create unique index blob_digest on blob (tenant, digest)",
        ),
    ),
)
"""The tables of blobs; open the database with it."""


@final
class SqliteBlobStore(BlobStore):
    """Bytes by tenant and digest, in a table."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def put(self, tenant: TenantId, data: bytes) -> Digest:
        """Returns the digest under which the bytes can be read from now on, once they are durable."""
        return await self._database.write(self._put, tenant, data)

    async def get(self, tenant: TenantId, digest: Digest) -> bytes:
        """Returns the bytes.

        Raises:
            KeyError: this tenant has no blob of that digest.
            StorageDamaged: what lies there is not what was put.
        """
        return await self._database.read(self._get, tenant, digest)

    async def has(self, tenant: TenantId, digest: Digest) -> bool:
        """Returns whether this tenant has a blob of that digest."""
        return await self._database.read(_has, tenant, digest)

    def _put(self, connection: Connection, tenant: TenantId, data: bytes) -> Digest:
        # Hashed here, so that a large blob does not hold up the event loop.
        digest = _digest(data)
        insert_blob(connection, tenant, digest, data, self._clock.now())
        return digest

    def _get(self, connection: Connection, tenant: TenantId, digest: Digest) -> bytes:
        query = "select bytes from blob where tenant = ? and digest = ?"
        row = connection.execute(query, (tenant, digest)).fetchone()
        if row is None:
            raise KeyError(digest)
        if _digest(row[0]) != digest:
            raise StorageDamaged(
                f"blob {digest!r} in the database {self._database.path!r} holds other bytes than were put; "
                "restore the file from a backup"
            )
        return row[0]


def insert_blob(connection: Connection, tenant: TenantId, digest: Digest, data: bytes, now: int) -> None:
    """Keeps bytes under their digest; keeping them again changes nothing."""
    connection.execute("insert or ignore into blob values (?, ?, ?, ?, ?)", (tenant, digest, len(data), data, now))


def _digest(data: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def _has(connection: Connection, tenant: TenantId, digest: Digest) -> bool:
    query = "select 1 from blob where tenant = ? and digest = ?"
    return connection.execute(query, (tenant, digest)).fetchone() is not None
