"""What is wrong with the rules about requests: each protocol has fields of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from holdfast.sandbox.policy.matching import fault_of
from holdfast.sandbox.policy.openshell import AnyOf, Endpoint, Request
from holdfast.sandbox.policy.requesting import METHODS

__all__ = ("request_faults",)

Fault = tuple[tuple[str | int, ...], str]

_HTTP: Final = frozenset(("method", "path", "query"))
_GRAPHQL: Final = frozenset(("operation_type", "operation_name", "fields"))
_FIELDS: Final = {
    "": frozenset(Request.__struct_fields__),
    "rest": _HTTP,
    "websocket": _HTTP | _GRAPHQL,
    "graphql": _GRAPHQL,
    "mcp": frozenset(("method", "tool", "params")),
    "json-rpc": frozenset(("method",)),
    "sql": frozenset(("command",)),
}
_METHOD: Final = re.compile(r"[A-Za-z][A-Za-z_-]{0,31}")
_OPERATIONS: Final = ("query", "mutation", "subscription", "*")
_GLOB: Final = re.compile(r"[*?\[]")


def request_faults(endpoint: Endpoint) -> Iterator[Fault]:
    """Yields what is wrong with `rules` and `deny_rules`."""
    allowed = [(("rules", number, "allow"), each.allow) for number, each in enumerate(endpoint.rules or ())]
    denied = [(("deny_rules", number), each) for number, each in enumerate(endpoint.deny_rules or ())]
    for place, request in (*allowed, *denied):
        for inside, text in _faults(request, endpoint):
            yield (*place, *inside), text
    if endpoint.protocol == "mcp":
        yield from _shadowed(allowed, denied)


def _faults(request: Request, endpoint: Endpoint) -> Iterator[Fault]:
    protocol = endpoint.protocol
    blank = Request()
    for name in Request.__struct_fields__:
        if getattr(request, name) != getattr(blank, name) and name not in _FIELDS[protocol]:
            what = ", ".join(sorted(_FIELDS[protocol]))
            yield (name,), f"{name!r} means nothing to {protocol}; its rules have {what}"
    yield from _patterns(request)
    if protocol in ("rest", "websocket"):
        yield from _http(request, protocol)
    elif protocol == "graphql":
        yield from _operation(request)
    elif protocol == "mcp":
        yield from _mcp(request, endpoint)
    elif protocol == "json-rpc":
        if not request.method:
            yield (), "it names no method; write its exact name, or *"
        elif request.method != "*" and _GLOB.search(request.method):
            yield ("method",), f"{request.method[:80]!r}: here a method is an exact name, or * for all"
    elif protocol == "sql" and not request.command:
        yield (), "it names no command; write one such as SELECT, or *"


def _patterns(request: Request) -> Iterator[Fault]:
    singles = (
        ("method", request.method, "/"),
        ("path", request.path, "/"),
        ("operation_name", request.operation_name, "."),
    )
    for name, pattern, separator in singles:
        if wrong := fault_of(pattern, separator):
            yield (name,), f"{pattern[:80]!r}: {wrong}"
    several = [(("query", key), each) for key, each in request.query.items()]
    several += [(("params", key), each) for key, each in request.params.items()]
    several += [(("tool",), request.tool)] if request.tool is not None else []
    for place, matcher in several:
        if isinstance(matcher, AnyOf) and not matcher.any:
            yield place, "an empty `any` matches nothing; list patterns, or take it away"
        for pattern in matcher.any if isinstance(matcher, AnyOf) else (matcher,):
            if wrong := fault_of(pattern, "."):
                yield place, f"{pattern[:80]!r}: {wrong}"
    for number, pattern in enumerate(request.fields):
        if wrong := fault_of(pattern, "."):
            yield ("fields", number), f"{pattern[:80]!r}: {wrong}"


def _http(request: Request, protocol: str) -> Iterator[Fault]:
    http = any(getattr(request, name) for name in _HTTP)
    operation = any(getattr(request, name) for name in _GRAPHQL)
    if protocol == "websocket" and operation:
        if http:
            yield (), "a rule is about the connection or about operations, not both; split it into two"
        yield from _operation(request)
        return
    known = ("GET", "WEBSOCKET_TEXT", "*")
    if not request.method:
        yield (), f"it names no method; write one such as {METHODS[0]}, or * for all"
    elif protocol == "websocket" and request.method.upper() not in known:
        yield ("method",), f"{request.method[:80]!r} never comes here; write GET, WEBSOCKET_TEXT or *"
    elif request.method != "*" and not _METHOD.fullmatch(request.method):
        yield ("method",), f"{request.method[:80]!r} is no method; write one such as GET, or * for all"
    if not request.path:
        yield (), 'it names no path; write one such as /v1/*, or "**" for all'


def _operation(request: Request) -> Iterator[Fault]:
    if request.operation_type.lower() not in _OPERATIONS:
        said = repr(request.operation_type[:80]) if request.operation_type else "nothing"
        yield ("operation_type",), f"it says {said}; write query, mutation, subscription or *"


def _mcp(request: Request, endpoint: Endpoint) -> Iterator[Fault]:
    options = endpoint.mcp
    any_method = options is not None and options.allow_all_known_mcp_methods is True
    strict = options is None or options.strict_tool_names is not False
    for key in request.params:
        if key != "name":
            yield ("params", key), "only `name` is looked at; arguments of tools are not"
    tool = request.tool if request.tool is not None else request.params.get("name")
    if not request.method and not any_method:
        yield (), "it names no method; write one such as tools/call"
    elif request.method == "*" or (_GLOB.search(request.method) and not request.method.startswith("tools/")):
        yield ("method",), f"{request.method[:80]!r}: wildcards are for tools/ alone; write each method, or set {_ALL}"
    if tool is None:
        return
    if request.method != "tools/call" and not (any_method and not request.method):
        yield ("method",), "tools are called by tools/call alone; write `method: tools/call`"
    patterns = tool.any if isinstance(tool, AnyOf) else (tool,)
    if not strict and any(map(_GLOB.search, patterns)):
        yield ("tool",), "a wildcard needs plain names of tools; take `strict_tool_names: false` away"


_ALL: Final = "`mcp.allow_all_known_mcp_methods: true`"


def _shadowed(
    allowed: list[tuple[tuple[str | int, ...], Request]], denied: list[tuple[tuple[str | int, ...], Request]]
) -> Iterator[Fault]:
    """Rules for all of `tools/call` beside others that allow single tools."""
    if not any(_names_tool(each) for _, each in allowed):
        return
    for place, each in (*allowed, *denied):
        if not _names_tool(each) and each.method in ("tools/call", "tools/*", "tools/**"):
            yield place, "it is about every tool, beside rules for single ones; give it a `tool`, or take those away"


def _names_tool(request: Request) -> bool:
    return request.tool is not None or bool(request.params)
