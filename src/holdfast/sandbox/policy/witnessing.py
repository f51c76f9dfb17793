"""Requests to try on a judge, so that each rule of some endpoints decides about one at least.

A wildcard stands for a word nobody else is likely to use; `**` for one, two and three segments. Where a denial, or an
endpoint for some paths only, crosses another pattern, there is a path that both are about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Final
from urllib.parse import quote

import msgspec

from holdfast.sandbox.policy.matching import compile_glob
from holdfast.sandbox.policy.openshell import AnyOf, Endpoint, Matcher, Request
from holdfast.sandbox.policy.requesting import METHODS, Call

__all__ = ("Way", "paths_to_ask", "ways_to_ask", "witnesses")

_WORD: Final = "w1tness"
_OTHER: Final = "/something-else"
_COMMANDS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "DROP")
_OPERATIONS: Final = ("query", "mutation", "subscription")
_EVERY: Final = frozenset(("", "**", "/**"))


class Way(msgspec.Struct, frozen=True):
    """A request, apart from where it goes."""

    name: str
    """For people."""
    method: str
    query: str = ""
    calls: tuple[Call, ...] = ()


def witnesses(pattern: str, separator: str) -> tuple[str, ...]:
    """Returns texts that a pattern matches."""
    return tuple(dict.fromkeys(each.replace("*", _WORD) for each in _expanded(pattern, separator)))


def paths_to_ask(endpoints: Sequence[Endpoint]) -> list[tuple[str, tuple[str, ...]]]:
    """Returns paths to try, for each pattern of the endpoints and, as `**`, for one that nobody names."""
    crossing = {each.path for each in endpoints} | {
        request.path for each in endpoints for request in each.deny_rules or ()
    }
    named = {request.path for request in _requests(endpoints)} | crossing
    found = {each: witnesses(each, "/") for each in sorted(named - _EVERY)}
    for one, two in product(sorted(crossing - _EVERY), sorted(named - _EVERY)):
        if one != two and "*" in one and "*" in two:
            for met in _meeting(one, two):
                found.setdefault(met, (met.replace("*", _WORD),))
    every = [*found.items(), ("**", (_OTHER,))]
    return [(shown, tuple(quote(path, safe="/!$&'()*+,=:@~-._") for path in paths)) for shown, paths in every]


def ways_to_ask(endpoints: Sequence[Endpoint]) -> Iterator[Way]:
    """Yields requests to try, each name once: what the protocols know, and what the rules name."""
    protocols = {each.protocol for each in endpoints}
    made: set[str] = set()
    for each in (*_usual(protocols), *(way for rule in _requests(endpoints) for way in _of_rule(rule, protocols))):
        if each.name not in made:
            made.add(each.name)
            yield each


def _requests(endpoints: Iterable[Endpoint]) -> Iterator[Request]:
    for each in endpoints:
        yield from (rule.allow for rule in each.rules or ())
        yield from each.deny_rules or ()


def _usual(protocols: set[str]) -> Iterator[Way]:
    if protocols & {"", "rest", "websocket"}:
        yield from (Way(each, each) for each in METHODS)
    if "websocket" in protocols:
        yield Way("WEBSOCKET_TEXT", "WEBSOCKET_TEXT")
    if "sql" in protocols:
        yield from (Way(each, each) for each in _COMMANDS)
    if "graphql" in protocols:
        yield from (Way(each, "POST", "", (Call(operation_type=each, fields=(_WORD,)),)) for each in _OPERATIONS)
    if protocols & {"mcp", "json-rpc"}:
        for method in ("initialize", "tools/list", "tools/call", "vendor/other"):
            call = Call(method=method, tool=_WORD if method == "tools/call" else "")
            yield Way(method, "POST", "", (call,))


def _of_rule(rule: Request, protocols: set[str]) -> Iterator[Way]:
    if rule.command and rule.command != "*":
        yield Way(rule.command, rule.command)
    if rule.operation_type:
        yield from _operations(rule)
    elif protocols & {"mcp", "json-rpc"} and not rule.path:
        yield from _calls(rule)
    elif rule.method and rule.method != "*":
        yield Way(rule.method.upper(), rule.method)
    for values in product(*([(name, value) for value in _each(each)] for name, each in rule.query.items())):
        query = "&".join(f"{quote(name)}={quote(witnesses(value, '.')[0])}" for name, value in values)
        shown = "&".join(f"{name}={value}" for name, value in values)
        for method in (METHODS if rule.method == "*" else (rule.method.upper(),)) if values else ():
            yield Way(f"{method}?{shown}", method, query)


def _operations(rule: Request) -> Iterator[Way]:
    kinds = _OPERATIONS if rule.operation_type == "*" else (rule.operation_type,)
    for kind, field in product(kinds, rule.fields or ("",)):
        name = witnesses(rule.operation_name, ".")[0]
        call = Call(operation_type=kind, operation_name=name, fields=(witnesses(field, ".")[0] or _WORD,))
        yield Way(" ".join(filter(None, (kind, rule.operation_name, field))), "POST", "", (call,))


def _calls(rule: Request) -> Iterator[Way]:
    tool = rule.tool if rule.tool is not None else rule.params.get("name")
    method = rule.method or "tools/call"
    for each in _each(tool) if tool is not None else ("",):
        for name in witnesses(each, "."):
            call = Call(method=witnesses(method, "/")[0], tool=name)
            yield Way(f"{method} {each}".strip(), "POST", "", (call,))


def _each(matcher: Matcher) -> tuple[str, ...]:
    return matcher.any if isinstance(matcher, AnyOf) else (matcher,)


def _expanded(pattern: str, separator: str) -> list[str]:
    """The pattern without classes and `?`, and with one, two and three segments in place of each `**`."""
    text = re.sub(r"\[!?(.)[^\]]*\]", lambda found: "~" if found[0][1] == "!" else found[1], pattern)
    segments = text.replace("?", "x").split(separator)
    counts = (1, 2, 3) if "**" in segments else (1,)
    deep = [[separator.join("*" * count) if each == "**" else each for each in segments] for count in counts]
    return [re.sub(r"\*+", "*", separator.join(each)) for each in deep]


def _meeting(one: str, two: str) -> Iterator[str]:
    """Paths that both patterns match, with `*` for what does not matter."""
    for first, second in product(_expanded(one, "/"), _expanded(two, "/")):
        pairs = list(zip(first.split("/"), second.split("/"), strict=False))
        if first.count("/") == second.count("/"):
            both = [_both(*pair) for pair in pairs]
            if None not in both:
                yield "/".join(each or "" for each in both)


def _both(one: str, two: str) -> str | None:
    for candidate in (one, two, (one + two).replace("*", ""), (two + one).replace("*", "")):
        text = candidate.replace("*", _WORD)
        if compile_glob(one, "/").fullmatch(text) and compile_glob(two, "/").fullmatch(text):
            return candidate
    return None
