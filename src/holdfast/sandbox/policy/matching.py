"""Patterns of policies, and the one spelling under which names and paths are compared with them.

One set of rules, with another separator for each kind of thing: `/` for paths of files and URLs, `.` for hosts, values
of queries and names of tools. `*` is anything but the separator, `?` one such character, `[a-c]` and `[!a-c]` one of
some. `**` is one segment or more where it stands as a whole one, and `*` elsewhere.

Whoever is judged chooses the text, so no text may cost more than its length times that of the pattern: whatever a
wildcard in the middle has found is kept (atomic groups), which is right because the earliest end leaves the most.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote_to_bytes

__all__ = ("address_in", "canonical_host", "canonical_path", "compile_glob", "compile_selector", "fault_of")

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC: Final = re.compile(r"\d+|0x[0-9a-f]*")
_TOKEN: Final = re.compile(r"\*+|\?|\[!?[^\]]+\]|[^*?\[]+|\[")
_PLAIN_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_~@:!$&'()*+,=-][A-Za-z0-9_~@:!$&'()*+,=.-]*)+/?|/")
_RAW_PATH: Final = re.compile(r"/[!$-~]*")
_ENCODED: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_KEPT: Final = "\x01"
"""Stands for an encoded slash while a path is taken apart; no path that is read may contain it."""


def fault_of(pattern: str, separator: str) -> str:
    """Returns what is wrong with a pattern, or nothing."""
    if any(sign in pattern for sign in "{}\\"):
        return "braces and backslashes mean nothing here: write a pattern for each case"
    for token in _TOKEN.findall(pattern):
        if token == "[":
            return "a bracket is not closed: write `[abc]`, or `?` for any one character"
        if token.startswith("[") and separator in token:
            return f"brackets never match {separator!r}: take it out of them"
        if token.startswith("["):
            try:
                re.compile(_class(token, separator))
            except re.error:
                return "the range in its brackets runs backwards: write the lower end first"
    return ""


@lru_cache(maxsize=4096)
def compile_glob(pattern: str, separator: str) -> re.Pattern[str]:
    """Returns the pattern as an expression for `fullmatch`.

    Raises:
        ValueError: it has a fault (`fault_of`).
    """
    if fault := fault_of(pattern, separator):
        raise ValueError(f"{pattern!r} is no pattern: {fault}")
    between = re.escape(separator)
    other = f"[^{between}]"
    groups: list[list[str]] = [[]]
    for segment in pattern.split(separator):
        if segment == "**":
            groups.append([])
        else:
            groups[-1].append(_segment(segment, other))
    first, *rest = (between.join(group) for group in groups)
    if not rest:
        return re.compile(first, re.DOTALL)
    built = [first + between if groups[0] else ""]
    many = f"{other}*(?:{between}{other}*)*"
    for group, chunk in zip(groups[1:-1], rest[:-1], strict=True):
        built.append(f"(?>{many}?{between}{chunk}{between})" if group else f"{other}*{between}")
    built.append(f"{many}{between}{rest[-1]}" if groups[-1] else many)
    return re.compile("".join(built), re.DOTALL)


@lru_cache(maxsize=1024)
def compile_selector(pattern: str) -> re.Pattern[str]:
    """Returns the `path` of an endpoint as an expression for `fullmatch`.

    It has rules of its own: `/v1/**` is also `/v1`, and everywhere else `*` crosses `/`.
    """
    if pattern in ("", "**", "/**"):
        return re.compile(r".*", re.DOTALL)
    if pattern.endswith("/**"):
        return re.compile(_segment(pattern[:-3], ".") + "(?:/.*)?", re.DOTALL)
    return re.compile(_segment(pattern, "."), re.DOTALL)


def _segment(pattern: str, other: str) -> str:
    """Text without separators in it, as far as `other` says."""
    chunks = [""]
    for token in _TOKEN.findall(pattern):
        if token.startswith("*"):
            chunks.append("")
        elif token == "?":
            chunks[-1] += other
        elif token.startswith("["):
            chunks[-1] += _class(token, "/" if other == "." else other[-2])
        else:
            chunks[-1] += re.escape(token)
    if len(chunks) == 1:
        return chunks[0]
    middle = "".join(f"(?>{other}*?{chunk})" for chunk in chunks[1:-1] if chunk)
    return f"{chunks[0]}{middle}{other}*{chunks[-1]}"


def _class(token: str, separator: str) -> str:
    inside = token[1:-1]
    turned = inside.startswith("!")
    signs = re.sub(r"[\[\]^&~|]", r"\\\g<0>", inside[turned:])
    return f"(?!{re.escape(separator)})[{'^' if turned else ''}{signs}]"


def canonical_host(host: str) -> str | None:
    """Returns a host in lower case, without the final dot or brackets; None for what is neither a name nor an address.

    What looks like an IPv4 address to some resolvers and not to others, as `127.1` does, is neither.
    """
    if not host.isascii():
        return None  # some signs become other people's letters when they are made small
    name = host.lower().removesuffix(".")
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    if (found := address_in(bare)) is not None:
        return found
    labels = bare.split(".")
    if bare != name or len(bare) > 253 or _NUMERIC.fullmatch(labels[-1]):
        return None
    return bare if all(map(_LABEL.fullmatch, labels)) else None


def address_in(host: str) -> str | None:
    """Returns the address a host is, in its one spelling; None where it is a name."""
    if "%" in host or not (":" in host or host[-1:].isdigit()):
        return None  # a zone says which of our networks, and that is not theirs to choose
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def canonical_path(path: str, *, encoded_slash: bool = False) -> str | None:
    """Returns the path of a URL as servers understand it: decoded, without `.`, `..`, `//` and `;parameters`.

    None for what two servers may understand differently: a path that climbs over its root or is no path, that hides a
    slash (unless `encoded_slash`, which leaves it as `%2F`), a backslash or a control character, or is encoded twice.
    """
    if _PLAIN_PATH.fullmatch(path):
        return path
    if not _RAW_PATH.fullmatch(path) or "\\" in path or path.count("%") != len(_ENCODED.findall(path)):
        return None
    if encoded_slash:
        path = re.sub("%2f", _KEPT, path, flags=re.IGNORECASE)
    elif "%2f" in path.lower():
        return None
    segments: list[str] = []
    for raw in path[1:].split("/"):
        segment = _decoded(raw.partition(";")[0])
        if segment is None or (segment == ".." and not segments):
            return None
        if segment == "..":
            segments.pop()
        elif segment not in ("", "."):
            segments.append(segment)
    folder = path.endswith("/") or path.endswith(("/.", "/.."))
    return ("/" + "/".join(segments) + ("/" if folder and segments else "")).replace(_KEPT, "%2F")


def _decoded(segment: str) -> str | None:
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        return None
    hidden = any(sign in "/\\;" or (sign < " " and sign != _KEPT) or sign == "\x7f" for sign in text)
    if "%01" in segment or (hidden and "%" in segment) or _ENCODED.search(text):
        return None
    return text
