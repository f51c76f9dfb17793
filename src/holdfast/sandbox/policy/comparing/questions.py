"""The requests to ask two judges about, so that no kind of request that some endpoints tell apart is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from math import comb, prod
from typing import Final, final
from urllib.parse import quote

import msgspec

from holdfast.sandbox.policy.comparing.calls import calls_to_ask, speaks_in_bodies
from holdfast.sandbox.policy.comparing.kinds import ENCODED_SLASH, closest, paths_of, quoted, texts_of
from holdfast.sandbox.policy.comparing.rows import OTHERS
from holdfast.sandbox.policy.matching import compile_glob, compile_selector
from holdfast.sandbox.policy.openshell import AnyOf, Endpoint, Request
from holdfast.sandbox.policy.requesting import METHODS, Call, allowed_by

__all__ = ("Question", "questions")

_OTHER: Final = "XUNNAMED"
_COMMANDS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "DROP")
_EVERY: Final = frozenset(("", "**", "/**"))
_MOST: Final = 60_000
_MOST_QUERIES: Final = 300


class Question(msgspec.Struct, frozen=True):
    """A request, apart from where it goes, with what it is called in a comparison."""

    names: tuple[str, ...]
    """Methods, or calls, that no rule tells apart."""
    shown: str
    """Its path, as a pattern."""
    with_query: str
    """Its query, as patterns."""
    method: str
    path: str
    query: str
    calls: tuple[Call, ...]
    secure: bool


def questions(endpoints: Sequence[Endpoint]) -> Iterator[Question]:
    """Yields a request of each kind.

    Raises:
        OverflowError: there are more kinds than can be asked about.
    """
    paths, ways, queries = _paths(endpoints), _ways(endpoints), _Queries(endpoints)
    secure = (False, True) if any(each.tls == "skip" for each in endpoints) else (False,)
    left = _MOST
    for (shown, path), (names, method, calls) in product(paths, ways):
        asked = queries.at(path, method)
        left -= len(asked) * len(secure)
        if left < 0:
            raise OverflowError("more kinds than can be looked at")
        for (said, query), tls in product(asked, secure):
            yield Question(names, shown, said, method, quoted(path), query, calls, tls)


def _paths(endpoints: Sequence[Endpoint]) -> list[tuple[str, str]]:
    globs = sorted({rule.path for one in endpoints for rule in (*allowed_by(one), *_denied(one))} - _EVERY)
    selectors = sorted({each.path for each in endpoints} - _EVERY)
    encoded = any(each.allow_encoded_slash for each in endpoints)
    compiled = [(each, compile_glob(each, "/")) for each in globs]
    compiled += [(each, compile_selector(each)) for each in selectors]
    found: list[tuple[str, str]] = []
    for path in paths_of(globs, selectors, encoded=encoded):
        shown = closest((each for each, pattern in compiled if pattern.fullmatch(path)), "**")
        found.append((f"{shown} (an encoded slash in it)" if ENCODED_SLASH in path else shown, path))
    return found


def _ways(endpoints: Sequence[Endpoint]) -> list[tuple[tuple[str, ...], str, tuple[Call, ...]]]:
    """Names, a method that stands for them, and what bodies ask for."""
    protocols = {each.protocol for each in endpoints}
    rules = [each for one in endpoints for each in (*allowed_by(one), *(one.deny_rules or ()))]
    methods: dict[tuple[bool, ...], list[str]] = {}
    for each in _methods(protocols, rules):
        special = each == "WEBSOCKET_TEXT", each == "GET" and not protocols.isdisjoint(("mcp", "json-rpc"))
        methods.setdefault((*special, *(_is_about(rule, each) for rule in rules)), []).append(each)
    ways: list[tuple[tuple[str, ...], str, tuple[Call, ...]]] = [
        (tuple(OTHERS if each == _OTHER else each for each in alike), alike[0], ()) for alike in methods.values()
    ]
    if any(map(speaks_in_bodies, endpoints)):
        by = ("POST", "WEBSOCKET_TEXT") if "websocket" in protocols else ("POST",)
        ways += [((name,), method, calls) for method in by for name, calls in calls_to_ask(endpoints)]
    return ways


def _methods(protocols: set[str], rules: Sequence[Request]) -> list[str]:
    if not protocols & {"", "rest", "websocket", "sql", "tcp"}:
        return ["GET", "POST"]  # whoever only listens, and whoever does not
    named = sorted({word.upper() for each in rules for word in (each.method, each.command)} - {"", "*"})
    commands = _COMMANDS if "sql" in protocols else ()
    messages = ("WEBSOCKET_TEXT",) if "websocket" in protocols else ()
    return [*dict.fromkeys((*METHODS, *messages, *commands, *named, _OTHER))]


def _is_about(rule: Request, method: str) -> bool:
    alike = (method, "GET") if method == "HEAD" else (method,)
    return rule.method == "*" or rule.command == "*" or rule.method.upper() in alike or rule.command.upper() == method


@final
class _Queries:
    """The queries that rules tell apart where they are about a path and a method."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        rules = [each for one in endpoints for each in (*(rule.allow for rule in one.rules or ()), *_denied(one))]
        self._rules = [(each, compile_glob(each.path or "**", "/")) for each in rules if each.query]
        self._known: dict[tuple[int, ...], list[tuple[str, str]]] = {}

    def at(self, path: str, method: str) -> list[tuple[str, str]]:
        """Returns each for people, and as it is sent; the first is none."""
        about = [rule for rule, glob in self._rules if _is_about(rule, method) and glob.fullmatch(path)]
        key = tuple(map(id, about))
        if key not in self._known:
            self._known[key] = _queries(about)
        return self._known[key]


def _denied(endpoint: Endpoint) -> tuple[Request, ...]:
    return endpoint.deny_rules or ()


def _queries(about: Sequence[Request]) -> list[tuple[str, str]]:
    said: dict[str, dict[str, None]] = {}
    rules: dict[str, int] = {}
    for rule in about:
        for name, matcher in rule.query.items():
            said.setdefault(name, {}).update(dict.fromkeys(matcher.any if isinstance(matcher, AnyOf) else (matcher,)))
            rules[name] = rules.get(name, 0) + 1
    each_name = [[("", ""), *_values(name, sorted(patterns), rules[name])] for name, patterns in sorted(said.items())]
    if not each_name:
        return [("", "")]
    if prod(map(len, each_name)) > _MOST_QUERIES:
        raise OverflowError("more kinds than can be looked at")
    found = [["&".join(filter(None, parts)) for parts in zip(*each, strict=True)] for each in product(*each_name)]
    return [(each[0], each[1]) for each in found]


def _values(name: str, patterns: list[str], rules: int) -> Iterator[tuple[str, str]]:
    """All sets of values that so many rules about them can tell apart: each may be met by another value."""
    globs = [(each, compile_glob(each, ".")) for each in patterns]
    kinds = texts_of(patterns, ".")
    most = min(rules, len(kinds))
    if sum(comb(len(kinds), count) for count in range(1, most + 1)) > _MOST_QUERIES:
        raise OverflowError("more kinds than can be looked at")
    for count in range(1, most + 1):
        for values in combinations(kinds, count):
            shown = [closest((each for each, glob in globs if glob.fullmatch(value)), "another") for value in values]
            yield (
                "&".join(f"{name}={each}" for each in shown),
                "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for value in values),
            )
