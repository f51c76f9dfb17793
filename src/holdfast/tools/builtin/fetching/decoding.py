"""Bytes of an answer as text: what kind they are, and in which characters they are written.

Only encodings that are nothing but that are used: Python knows others by name, some of them slow or strange.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

__all__ = ("decoded", "is_html", "is_text", "media_type")

_TEXTS: Final = re.compile(
    r"text/.*|application/(?:.*[+.-])?(?:json|xml|javascript|ecmascript|yaml|toml|sql|ndjson|jsonl|graphql|x-sh|"
    r"x-www-form-urlencoded|x-httpd-php|x-tex|rtf|pem-certificate-chain)|image/svg\+xml|message/.*"
)
_UNSAID: Final = frozenset(("", "application/octet-stream", "binary/octet-stream", "application/unknown"))
_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_META: Final = re.compile(rb"<meta[^>]{0,500}?charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_NAMES: Final = (
    "utf-8 utf-16 utf-16-le utf-16-be cp1252 big5 big5hkscs euc_jp euc_kr gb18030 gb2312 gbk iso2022_jp shift_jis "
    "cp932 cp949 cp866 cp874 koi8-r koi8-u mac-roman tis-620"
)
_KNOWN: Final = (
    frozenset(_NAMES.split())
    | {f"iso8859-{number}" for number in range(2, 17)}
    | {f"cp{number}" for number in range(1250, 1259)}
)


def media_type(header: str) -> str:
    """Returns the type that a Content-Type names, without its parameters and in lower case."""
    return header.partition(";")[0].strip().lower()


def is_html(kind: str) -> bool:
    """Whether this is the type of a page."""
    return kind in ("text/html", "application/xhtml+xml")


def is_text(kind: str, data: bytes) -> bool:
    """Whether bytes of this type can be shown; where the type says nothing, they are looked at."""
    beginning = data[:8192]
    if any(beginning.startswith(mark) for mark, _ in _MARKS):
        return True
    if b"\0" in beginning:
        return False
    if kind not in _UNSAID:
        return bool(_TEXTS.fullmatch(kind))
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return False
    return True


def decoded(data: bytes, header: str) -> str:
    """Returns bytes as text: by their mark, their Content-Type, what the page itself says, or as UTF-8.

    What is not UTF-8 and says nothing is read as Western European, as browsers do.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    said = _CHARSET.search(header[:1000])
    name = _python_name(said[1]) if said else None
    if name is None and is_html(media_type(header)) and (meta := _META.search(data[:2048])):
        name = _python_name(meta[1].decode("ascii", "replace"))
        name = "utf-8" if name and name.startswith("utf-16") else name  # it was read as ASCII, so it is not
    if name is not None:
        return data.decode(name, "replace")
    try:
        # A bound on bytes may have cut the last character.
        return codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return data.decode("utf-8" if said else "cp1252", "replace")


def _python_name(label: str) -> str | None:
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        return None
    if name in ("ascii", "iso8859-1"):
        return "cp1252"  # as every browser reads these labels
    return name if name in _KNOWN else None
