"""Brings a database to the tables this version needs, forwards only.

Each room that keeps tables has a `Schema`: numbered steps that never change once released. What was applied is
written down with a checksum, so that a changed step, or a database of a newer version, is refused before
anything is touched. A file that holds tables but none of ours belongs to another program and is refused too.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence

import msgspec

from holdfast.errors import StorageError

__all__ = ("Schema", "migrate", "pending")

_APPLIED = """
create table if not exists schema_step (
    schema text not null, number integer not null, checksum text not null, applied_at text not null,
    primary key (schema, number)
) without rowid
"""


class Schema(msgspec.Struct, frozen=True):
    """The tables of one room."""

    name: str
    steps: tuple[tuple[str, ...], ...]
    """Statements of each step; the first step has number 1."""


def pending(connection: sqlite3.Connection, schemas: Sequence[Schema], path: str) -> bool:
    """Returns whether steps are missing; reads only.

    Raises:
        StorageError: the database belongs to another program, to a newer version, or was made by other steps.
    """
    return bool(_missing(connection, schemas, path))


def migrate(connection: sqlite3.Connection, schemas: Sequence[Schema], path: str) -> None:
    """Applies the missing steps; the caller holds the write transaction, so it is all of them or none."""
    missing = _missing(connection, schemas, path)
    connection.execute(_APPLIED)
    for schema, number in missing:
        statements = schema.steps[number - 1]
        for statement in statements:
            connection.execute(statement)
        row = (schema.name, number, _checksum(statements))
        connection.execute("insert into schema_step values (?, ?, ?, datetime('now'))", row)


def _missing(connection: sqlite3.Connection, schemas: Sequence[Schema], path: str) -> list[tuple[Schema, int]]:
    applied = _applied(connection, path)
    missing: list[tuple[Schema, int]] = []
    for schema in schemas:
        done = applied.get(schema.name, {})
        if max(done, default=0) > len(schema.steps):
            raise StorageError(
                f"the database {path!r} was written by a newer version of Holdfast (schema {schema.name!r} "
                f"{max(done)}, this version knows {len(schema.steps)}); upgrade Holdfast, or name another file"
            )
        for number, statements in enumerate(schema.steps, 1):
            if number not in done:
                missing.append((schema, number))
            elif done[number] != _checksum(statements):
                raise StorageError(
                    f"step {number} of schema {schema.name!r} in the database {path!r} is not the one this version "
                    "knows; open it with the version that made it, or name another file"
                )
    return missing


def _applied(connection: sqlite3.Connection, path: str) -> dict[str, dict[int, str]]:
    tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    if "schema_step" not in tables:
        if tables:
            raise StorageError(f"the file {path!r} is a database of another program; name another file")
        return {}
    applied: dict[str, dict[int, str]] = {}
    for schema, number, checksum in connection.execute("select schema, number, checksum from schema_step"):
        applied.setdefault(schema, {})[number] = checksum
    return applied


def _checksum(statements: Sequence[str]) -> str:
    return hashlib.sha256("\n;\n".join(statements).encode()).hexdigest()
