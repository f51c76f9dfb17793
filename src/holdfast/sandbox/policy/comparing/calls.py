"""What bodies can ask for, one of each kind, where endpoints speak GraphQL, MCP or JSON-RPC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, combinations, product
from typing import Final

from holdfast.sandbox.policy.comparing.kinds import closest, texts_of
from holdfast.sandbox.policy.matching import compile_glob
from holdfast.sandbox.policy.openshell import AnyOf, Endpoint, Matcher, Request
from holdfast.sandbox.policy.requesting import CORE_METHODS, Call

__all__ = ("calls_to_ask", "speaks_in_bodies")

_OPERATIONS: Final = ("query", "mutation", "subscription")
_VENDOR: Final = "vendor/unnamed"
_ODD: Final = "no plain name"
_UNKNOWN: Final = "an-unknown-hash"
_MOST: Final = 60
_TOGETHER: Final = 2
"""Calls in one request."""


def speaks_in_bodies(endpoint: Endpoint) -> bool:
    """Returns whether what a request asks for stands in its body."""
    if endpoint.protocol in ("graphql", "mcp", "json-rpc"):
        return True
    return any(each.operation_type for each in _rules([endpoint]))


def calls_to_ask(endpoints: Sequence[Endpoint]) -> Iterator[tuple[str, tuple[Call, ...]]]:
    """Yields what bodies can ask for: one call of each kind, and two at once.

    Raises:
        OverflowError: there are more kinds than can be asked about.
    """
    speaking = [each for each in endpoints if speaks_in_bodies(each)]
    protocols = {each.protocol for each in speaking}
    found: list[tuple[str, Call]] = []
    if protocols & {"mcp", "json-rpc"}:
        found += _methods(speaking)
    if protocols - {"mcp", "json-rpc"}:
        found += _operations(speaking)
    if len(found) > _MOST or len(speaking) > 2 * _TOGETHER:
        raise OverflowError("more kinds than can be looked at")
    for together in chain(combinations(found, 1), combinations(found, _TOGETHER)):
        yield " and ".join(name for name, _ in together), tuple(call for _, call in together)


def _rules(endpoints: Sequence[Endpoint]) -> Iterator[Request]:
    for each in endpoints:
        yield from (rule.allow for rule in each.rules or ())
        yield from each.deny_rules or ()


def _each(matcher: Matcher | None) -> tuple[str, ...]:
    if matcher is None:
        return ()
    return matcher.any if isinstance(matcher, AnyOf) else (matcher,)


def _named(text: str, patterns: Sequence[str], separator: str) -> str:
    return closest((each for each in patterns if compile_glob(each, separator).fullmatch(text)), "")


def _methods(endpoints: Sequence[Endpoint]) -> Iterator[tuple[str, Call]]:
    rules = [*_rules([each for each in endpoints if each.protocol in ("mcp", "json-rpc")])]
    patterns = sorted({each.method for each in rules} - {"", "*"})
    tools = sorted({tool for each in rules for tool in (*_each(each.tool), *_each(each.params.get("name")))})
    odd = any(each.mcp is not None and each.mcp.strict_tool_names is False for each in endpoints)
    known = dict.fromkeys((*(each for each in patterns if not set("*?[") & set(each)), *sorted(CORE_METHODS), _VENDOR))
    alike: dict[tuple[bool, ...], str] = {}
    for method in (*known, *texts_of(patterns, "/")):
        told = (method in CORE_METHODS, method in patterns, method == "tools/call", method == "initialize")
        globs = (compile_glob(each, "/").fullmatch(method) is not None for each in patterns)
        key = (*told, *globs, *(method == each for each in patterns))
        alike.setdefault(key, method)
    for method in alike.values():
        shown = _named(method, patterns, "/") or (method if method in known else "others")
        if method != "tools/call":
            yield shown, Call(method=method)
            continue
        for tool in (*texts_of(tools, "."), *((_ODD,) if odd else ())):
            yield f"{shown} {_named(tool, tools, '.') or 'others'}", Call(method=method, tool=tool)


def _operations(endpoints: Sequence[Endpoint]) -> Iterator[tuple[str, Call]]:
    rules = [*_rules(endpoints)]
    names = sorted({each.operation_name for each in rules} - {""})
    fields = sorted({field for each in rules for field in each.fields})
    kinds = texts_of(fields, ".") if fields else [""]
    asked = [(each,) for each in kinds if each] + [*combinations([each for each in kinds if each], 2)]
    for kind, name, some in product(_OPERATIONS, texts_of(names, ".") if names else ("",), asked or [()]):
        shown = (_named(name, names, ".") if name else "", ",".join(_named(each, fields, ".") or "*" for each in some))
        call = Call(operation_type=kind, operation_name=name, fields=some)
        yield " ".join(filter(None, (kind, *shown))), call
    for key in dict.fromkeys(key for each in endpoints for key in (*each.graphql_persisted_queries, _UNKNOWN)):
        yield f"persisted {key}", Call(persisted=key)
