"""The tools for files that are kept beyond a run: their bytes as blobs, their names as values."""

from __future__ import annotations

import asyncio
import base64
import binascii
from functools import partial

import msgspec

from holdfast.errors import InputTooLarge
from holdfast.storage.chunks import get_chunked
from holdfast.tools.attaching import stored_file
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.keeping.scoping import check_key, kept_of, refused, scoped
from holdfast.tools.declaring import tool
from holdfast.tools.keeping.kept import FILES, Kept
from holdfast.tools.keeping.port import Entry
from holdfast.types import Attachment, Governance, ToolResult

__all__ = (
    "file_delete",
    "file_delete_with",
    "file_get",
    "file_get_metadata",
    "file_get_metadata_with",
    "file_get_text",
    "file_get_text_with",
    "file_get_with",
    "file_list",
    "file_list_with",
    "file_save",
    "file_save_with",
    "file_search",
    "file_search_with",
)

_UI = "kept-file"
_LISTED = 500
_READ = 40_000
"""Characters at once."""
_FOUND = 100
_SEARCHED = 1024**2
_AROUND = 80
"""Characters before and behind what was found."""
_WHOLE = 32 * 1024
"""Bytes of a file that is given as base64."""


async def found_file(kept: Kept, name: str) -> tuple[Attachment, int]:
    """Returns a file that is kept, and when it was.

    Raises:
        ToolFailure: there is none of that name.
    """
    check_key(name, "name")
    entry = await kept.values.get(kept.place("file"), name)
    if entry is None:
        raise ToolFailure(f"no file {name!r} is kept: file_list says which are", code="invalid_input")
    return msgspec.json.decode(entry.value, type=Attachment), entry.at


async def read_kept(kept: Kept, file: Attachment) -> bytes:
    """Returns a file's bytes."""
    return await get_chunked(kept.blobs, kept.tenant, file.digest, file.chunks)


@tool(effect="keyed", tier="direct", reference="builtin:file_save", governance=Governance(operations=("write",)))
async def file_save(
    context: ToolContext, name: str, text: str | None = None, base64_data: str | None = None, path: str | None = None
) -> ToolResult:
    """Keep a file beyond this run, in place of one of the same name. Give one of text, base64_data and path.

    Args:
        context: Where the call runs.
        name: What it is called; 512 characters at most, slashes as you like.
        text: What is in it, as text.
        base64_data: What is in it, as base64.
        path: The file of the workspace whose content is kept as it is now.
    """
    check_key(name, "name")
    kept, data = kept_of(context), await _data(context, text, base64_data, path)
    try:
        file = await stored_file(kept.blobs, kept.tenant, name, data)
    except InputTooLarge as error:
        raise ToolFailure(str(error), code="invalid_input") from error
    change = await kept.values.set(
        kept.place("file"),
        name,
        msgspec.json.encode(file).decode(),
        operation=context.key,
        caps=FILES,
        size=file.size,
        refers=file.chunks or (file.digest,),
    )
    if change.done != "written":
        raise refused(change, FILES, "files")
    return ToolResult(f"Kept {file.size} bytes.", metadata={"ui": _UI, "name": name, "size": file.size})


@tool(effect="none", tier="direct", reference="builtin:file_get")
async def file_get(context: ToolContext, name: str) -> ToolResult:
    """Get a kept file: as base64 where it has at most 32 KB, and otherwise attached to the result.

    Args:
        context: Where the call runs.
        name: What it is called.
    """
    kept = kept_of(context)
    file, _ = await found_file(kept, name)
    data, card = await read_kept(kept, file), {"ui": _UI, "name": name, "size": file.size}
    if len(data) <= _WHOLE:
        return ToolResult(base64.b64encode(data).decode(), metadata=card)
    await context.attach(name, data, media_type=file.media_type)
    return ToolResult(f"{file.size} bytes, attached to this result. file_get_text reads it in parts.", metadata=card)


@tool(effect="none", tier="direct", reference="builtin:file_get_text")
async def file_get_text(context: ToolContext, name: str, start: int = 0, length: int = 40_000) -> ToolResult:
    """Read a kept file as text, or a part of it.

    Args:
        context: Where the call runs.
        name: What it is called.
        start: The first character to read, from 0.
        length: How many characters to read; 40,000 at most.
    """
    if start < 0 or not 0 < length <= _READ:
        raise ToolFailure(f"`start` counts from 0, and `length` is 1 to {_READ}", code="invalid_input")
    kept = kept_of(context)
    file, _ = await found_file(kept, name)
    text = (await read_kept(kept, file)).decode("utf-8", "replace")
    rest = len(text) - start - length
    note = f"\n[{rest} characters more: go on with start={start + length}]" if rest > 0 else ""
    card = {"ui": _UI, "name": name, "size": file.size}
    return ToolResult(text[start : start + length] + note, metadata=card)


@tool(effect="none", tier="direct", reference="builtin:file_get_metadata")
async def file_get_metadata(context: ToolContext, name: str) -> ToolResult:
    """Get what is known of a kept file: JSON {"name", "bytes", "media_type", "saved_at"}, the time as µs UTC.

    Args:
        context: Where the call runs.
        name: What it is called.
    """
    file, at = await found_file(kept_of(context), name)
    said = {"name": name, "bytes": file.size, "media_type": file.media_type, "saved_at": at}
    return ToolResult(msgspec.json.encode(said).decode(), metadata={"ui": _UI, "name": name, "size": file.size})


@tool(effect="none", tier="direct", reference="builtin:file_list")
async def file_list(context: ToolContext, prefix: str = "", after: str = "") -> ToolResult:
    """List the files that are kept, with their sizes, 500 at a time.

    Args:
        context: Where the call runs.
        prefix: What the names begin with.
        after: The last name of the list before, to go on behind it.
    """
    kept = kept_of(context)
    found = await kept.values.list(kept.place("file"), prefix, after=after, limit=_LISTED)
    said = [{"name": each.key, "bytes": each.size} for each in found]
    return ToolResult(msgspec.json.encode(said).decode(), metadata={"ui": _UI, "prefix": prefix, "count": len(found)})


@tool(effect="keyed", tier="direct", reference="builtin:file_delete", governance=Governance(operations=("delete",)))
async def file_delete(context: ToolContext, name: str) -> ToolResult:
    """Delete a kept file.

    Args:
        context: Where the call runs.
        name: What it is called.
    """
    check_key(name, "name")
    kept = kept_of(context)
    change = await kept.values.delete(kept.place("file"), name, operation=context.key)
    text = "Deleted." if change.done == "removed" else "There was no file of that name."
    return ToolResult(text, metadata={"ui": _UI, "name": name})


@tool(effect="none", tier="direct", reference="builtin:file_search")
async def file_search(context: ToolContext, text: str, limit: int = 20) -> ToolResult:
    """Find kept files by a text in their names, or in their content, where they are texts of at most 1 MB; upper and
    lower case are the same. The result is JSON: [{"name", "excerpt"}], the excerpt empty where the name has it.

    Args:
        context: Where the call runs.
        text: What to find.
        limit: How many files to find at most.
    """
    wanted = text.casefold()
    if not wanted.strip() or not 0 < limit <= _FOUND:
        raise ToolFailure(f"say what to find, and a limit from 1 to {_FOUND}", code="invalid_input")
    kept = kept_of(context)
    said: list[dict[str, str]] = []
    for entry in await kept.values.list(kept.place("file"), limit=FILES.count):
        excerpt = "" if wanted in entry.key.casefold() else await _excerpt(kept, entry, wanted)
        if excerpt is not None:
            said.append({"name": entry.key, "excerpt": excerpt})
        if len(said) >= limit:
            break
    return ToolResult(msgspec.json.encode(said).decode(), metadata={"ui": _UI, "pattern": text, "count": len(said)})


async def _excerpt(kept: Kept, entry: Entry, wanted: str) -> str | None:
    """Returns what stands around a text in a file; None where it does not stand there."""
    if entry.size > _SEARCHED:
        return None
    try:
        file, _ = await found_file(kept, entry.key)
        data = (await read_kept(kept, file)).decode()
    except (ToolFailure, UnicodeDecodeError):  # it was deleted meanwhile, or is no text
        return None
    at = data.casefold().find(wanted)
    return None if at < 0 else data[max(0, at - _AROUND) : at + len(wanted) + _AROUND]


async def _data(context: ToolContext, text: str | None, base64_data: str | None, path: str | None) -> bytes:
    if sum(each is not None for each in (text, base64_data, path)) != 1:
        raise ToolFailure("give one of text, base64_data and path", code="invalid_input")
    if text is not None:
        return text.encode("utf-8", "replace")
    if path is not None:
        if context.workspace is None:
            raise ToolFailure("this run has no workspace, so there is no such path", code="invalid_input")
        return (await asyncio.to_thread(context.workspace.contents, path))[0]
    try:
        return base64.b64decode(base64_data or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ToolFailure(f"that is no base64: {error}", code="invalid_input") from error


file_save_with = partial(scoped, file_save)
"""Returns the tool for another scope, by its name: `agent`, `user` or `session`; the others as well."""
file_get_with = partial(scoped, file_get)
file_get_text_with = partial(scoped, file_get_text)
file_get_metadata_with = partial(scoped, file_get_metadata)
file_list_with = partial(scoped, file_list)
file_delete_with = partial(scoped, file_delete)
file_search_with = partial(scoped, file_search)
