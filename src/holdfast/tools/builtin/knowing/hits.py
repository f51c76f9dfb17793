"""What a search engine answered, as hits: read from a page of DuckDuckGo, or from JSON.

All of it is a stranger's: each text is cut, of one line and without control characters, each address one of the web,
and no more hits are kept than were asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast
from urllib.parse import parse_qs, urljoin, urlsplit

import msgspec

from holdfast.tools.binding import ToolFailure
from holdfast.tools.builtin.fetching.markup import tags_and_texts
from holdfast.tools.builtin.knowing.addresses import place_of

__all__ = ("Hit", "hits_in_json", "hits_in_page")

_TITLE: Final = 300
_SNIPPET: Final = 600
_URL: Final = 2_000
_SAID: Final = 20_000
"""Characters of a title or a snippet that are looked at."""
_SPACE: Final = re.compile(r"[\s\xa0\u200b]+")
_CONTROLS: Final = re.compile(r"[\0-\x1f\x7f-\x9f\ud800-\udfff]")
_ATTRIBUTES: Final = frozenset(("class", "href", "id"))
_TITLES: Final = frozenset(("result__a", "result-link"))
_SNIPPETS: Final = frozenset(("result__snippet", "result-snippet"))
_NOTHING: Final = frozenset(("no-results", "no-results-message", "result--no-result"))
_CHALLENGE: Final = ("anomaly", "challenge-form", "captcha")
_NO_RESULTS: Final = re.compile(r"\bno\s+(?:more\s+)?results\b", re.IGNORECASE)


class Hit(msgspec.Struct, frozen=True, gc=False):
    """Something that was found."""

    title: str
    url: str
    snippet: str = ""


class _Reading(msgspec.Struct):
    """A page as far as it was read."""

    hits: list[Hit]
    href: str = ""
    """Of the hit whose title or snippet is read."""
    tag: str = ""
    """What ends it; empty between such."""
    is_title: bool = False
    words: list[str] = []
    length: int = 0
    none: bool = False
    """Whether it says that nothing was found."""


def hits_in_page(page: str, url: str, most: int) -> list[Hit]:
    """Returns the hits of a page of DuckDuckGo, of its plain or its light version, without advertisements.

    Raises:
        ToolFailure: it is a question whether a person asks, or another page.
    """
    reading = _Reading([])
    for item in tags_and_texts(page, _ATTRIBUTES):
        if isinstance(item, str):
            _say(reading, item)
            continue
        name, attributes = item
        classes = set(attributes.get("class", "").split())
        if any(each in f"{attributes.get('class', '')} {attributes.get('id', '')}" for each in _CHALLENGE):
            raise _unreadable("the engine wants to know whether a person asks: it was asked too often from here")
        if reading.tag and name == f"/{reading.tag}":
            _close(reading)
        if len(reading.hits) >= most and not reading.tag and reading.hits[-1].snippet:
            break
        reading.none = reading.none or not _NOTHING.isdisjoint(classes)
        if not (_TITLES | _SNIPPETS).isdisjoint(classes):
            reading.tag, reading.is_title = name, not _TITLES.isdisjoint(classes)
            reading.words, reading.length = [], 0
            reading.href = _target(attributes.get("href", ""), url) if reading.is_title else reading.href
    if not reading.hits and not reading.none:
        raise _unreadable("the engine's page holds nothing that can be read as results")
    return _distinct(reading.hits, most)


def _say(reading: _Reading, text: str) -> None:
    if reading.tag and reading.length < _SAID:
        reading.words.append(text[:_SAID])
        reading.length += len(text)
    elif not reading.hits and _NO_RESULTS.search(text[:200]):
        reading.none = True


def _close(reading: _Reading) -> None:
    """Ends a title or a snippet, which belongs to the title before it."""
    said = "".join(reading.words)
    reading.tag = ""
    if reading.is_title:
        if reading.href:
            reading.hits.append(Hit(_line(said, _TITLE), reading.href))
    elif reading.href and reading.hits and not reading.hits[-1].snippet:
        reading.hits[-1] = msgspec.structs.replace(reading.hits[-1], snippet=_line(said, _SNIPPET))


def _target(href: str, url: str) -> str:
    """Returns where a link of the page leads in the end; nothing for an advertisement or what is none of the web."""
    if not href or len(href) > 4 * _URL:
        return ""
    try:
        whole = urljoin(url, href.strip())
        parts = urlsplit(whole)
        inner = parse_qs(parts.query, max_num_fields=20).get("uddg") if parts.path.startswith("/l/") else None
    except ValueError:
        return ""
    if inner:
        return _address(inner[0])
    return "" if parts.path == "/y.js" or parts.netloc == urlsplit(url).netloc else _address(whole)


def hits_in_json(data: bytes, path: tuple[str, ...], text: str, most: int) -> list[Hit]:
    """Returns the hits that a list in a JSON object holds, found by a path of keys; `text` names their snippets' key.

    Raises:
        ToolFailure: it is no JSON, or there is no list there.
    """
    try:
        found: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _unreadable("the engine's answer is no JSON: is its address right, and does it give JSON?") from None
    for key in path:
        found = cast("dict[str, Any]", found).get(key) if isinstance(found, dict) else None
        if found is None and key != path[-1]:  # as Brave says it where there are no pages
            return []
    if not isinstance(found, list):
        raise _unreadable(f"the engine's answer has no list {'.'.join(path)!r}: is it the engine that was configured?")
    rows = [cast("dict[str, Any]", each) for each in cast("list[Any]", found) if isinstance(each, dict)]
    return _distinct((_hit(each, text) for each in rows), most)


def _hit(row: Mapping[str, Any], text: str) -> Hit:
    title, url, snippet = (str(row.get(key) or "")[:_SAID] for key in ("title", "url", text))
    return Hit(_line(_plain(title), _TITLE), _address(url), _line(_plain(snippet), _SNIPPET))


def _plain(text: str) -> str:
    """Returns the words of a text that may have marks in it."""
    return text if "<" not in text else "".join(each for each in tags_and_texts(text) if isinstance(each, str))


def _line(text: str, most: int) -> str:
    line = _CONTROLS.sub("\ufffd", _SPACE.sub(" ", text)).strip()
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _address(url: str) -> str:
    url = url.strip()
    return url if len(url) <= _URL and not _CONTROLS.search(url) and " " not in url and place_of(url) else ""


def _distinct(hits: Iterable[Hit], most: int) -> list[Hit]:
    found: dict[str, Hit] = {}
    for hit in hits:
        if len(found) == most:
            break
        if hit.url:
            found.setdefault(place_of(hit.url), hit)
    return list(found.values())


def _unreadable(why: str) -> ToolFailure:
    return ToolFailure(f"Nothing is known about results: {why}. Try again later, or fetch a page you know.")
