"""The tools for values under keys."""

from __future__ import annotations

from functools import partial

import msgspec

from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.keeping.scoping import check_key, kept_of, refused, scoped
from holdfast.tools.declaring import tool
from holdfast.tools.keeping.kept import VALUES
from holdfast.types import Governance, ToolResult

__all__ = ("kv_delete", "kv_delete_with", "kv_get", "kv_get_with", "kv_list", "kv_list_with", "kv_set", "kv_set_with")

_LARGEST = 1024**2
"""Bytes of a value."""
_LISTED = 500
_UI = "key-value"


@tool(effect="none", tier="direct", reference="builtin:kv_get")
async def kv_get(context: ToolContext, key: str) -> ToolResult:
    """Get a value that was kept under a key, by you or in an earlier run. The result is JSON: {"found", "value",
    "version"}.

    Args:
        context: Where the call runs.
        key: What it was kept under.
    """
    check_key(key)
    kept = kept_of(context)
    found = await kept.values.get(kept.place("value"), key)
    said = {"found": False} if found is None else {"found": True, "value": found.value, "version": found.version}
    return ToolResult(msgspec.json.encode(said).decode(), metadata={"ui": _UI, "key": key})


@tool(effect="keyed", tier="direct", reference="builtin:kv_set", governance=Governance(operations=("write",)))
async def kv_set(context: ToolContext, key: str, value: str, version: int | None = None) -> ToolResult:
    """Keep a value under a key beyond this run, in place of what is there.

    Args:
        context: Where the call runs.
        key: What to keep it under; 512 characters at most.
        value: A text; data as JSON.
        version: Only where this is the version that is there, 0 for nothing; otherwise nothing is written.
    """
    check_key(key)
    if (size := len(value.encode("utf-8", "replace"))) > _LARGEST:
        raise ToolFailure(
            f"a value of {size} bytes: one may have {_LARGEST}, keep a file instead", code="invalid_input"
        )
    kept = kept_of(context)
    value = value.encode("utf-8", "replace").decode()  # half a character is no text
    change = await kept.values.set(kept.place("value"), key, value, operation=context.key, caps=VALUES, version=version)
    if change.done != "written":
        raise refused(change, VALUES, "values")
    return ToolResult(f"Kept as version {change.version}.", metadata={"ui": _UI, "key": key})


@tool(effect="none", tier="direct", reference="builtin:kv_list")
async def kv_list(context: ToolContext, prefix: str = "", after: str = "") -> ToolResult:
    """List the keys under which values are kept, with their sizes and versions, 500 at a time.

    Args:
        context: Where the call runs.
        prefix: What the keys begin with.
        after: The last key of the list before, to go on behind it.
    """
    kept = kept_of(context)
    found = await kept.values.list(kept.place("value"), prefix, after=after, limit=_LISTED)
    said = [{"key": each.key, "bytes": each.size, "version": each.version} for each in found]
    return ToolResult(msgspec.json.encode(said).decode(), metadata={"ui": _UI, "prefix": prefix, "count": len(found)})


@tool(effect="keyed", tier="direct", reference="builtin:kv_delete", governance=Governance(operations=("delete",)))
async def kv_delete(context: ToolContext, key: str) -> ToolResult:
    """Delete the value that is kept under a key.

    Args:
        context: Where the call runs.
        key: What it was kept under.
    """
    check_key(key)
    kept = kept_of(context)
    change = await kept.values.delete(kept.place("value"), key, operation=context.key)
    text = "Deleted." if change.done == "removed" else "There was nothing under that key."
    return ToolResult(text, metadata={"ui": _UI, "key": key})


kv_get_with = partial(scoped, kv_get)
"""Returns the tool for another scope, by its name: `agent`, `user` or `session`."""
kv_set_with = partial(scoped, kv_set)
"""The same of another tool, as the next two."""
kv_list_with = partial(scoped, kv_list)
kv_delete_with = partial(scoped, kv_delete)
