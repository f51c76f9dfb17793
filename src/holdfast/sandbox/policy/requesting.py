"""What the rules of one endpoint say about one request.

Each protocol has rules of another kind: HTTP's are about method, path and query; GraphQL's about operations; those of
MCP and JSON-RPC about methods and tools. Presets (`access`) are written out as rules, so that there is one way to look.

A body is somebody else's to take apart: they hand over what it asks for as `Call`s. Each of several must be allowed.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Final, final
from urllib.parse import parse_qs

import msgspec

from holdfast.sandbox.policy.matching import compile_glob
from holdfast.sandbox.policy.openshell import AnyOf, Endpoint, Matcher, Request

__all__ = ("CORE_METHODS", "METHODS", "Asked", "Call", "Requests", "allowed_by")

METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
"""HTTP's, as the presets know them."""

CORE_METHODS: Final = frozenset(
    (
        *("initialize", "ping", "logging/setLevel", "completion/complete", "tools/list", "tools/call"),
        *("resources/list", "resources/templates/list", "resources/read", "resources/subscribe"),
        *("resources/unsubscribe", "prompts/list", "prompts/get", "notifications/initialized"),
        *("notifications/cancelled", "notifications/progress", "notifications/roots/list_changed"),
        *("tasks/get", "tasks/result", "tasks/list", "tasks/cancel", "notifications/tasks/status"),
    )
)
"""What a client may send by MCP itself; others are extensions, which only their exact name allows."""

_PRESETS: Final = {
    "rest": {"read-only": METHODS[:3], "read-write": METHODS[:6], "full": ("*",)},
    "websocket": {"read-only": ("GET",), "read-write": ("GET", "WEBSOCKET_TEXT"), "full": ("*",)},
    "graphql": {"read-only": ("query",), "read-write": ("query", "mutation"), "full": ("*",)},
    "sql": {"read-only": ("SELECT",), "read-write": ("SELECT", "INSERT", "UPDATE"), "full": ("*",)},
}
_TOOL: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One thing the body of a request asks for."""

    method: str = ""
    """MCP, JSON-RPC."""
    tool: str = ""
    """MCP, of `tools/call`: `params.name`."""
    operation_type: str = ""
    """GraphQL; empty where only a persisted query is named."""
    operation_name: str = ""
    fields: tuple[str, ...] = ()
    """GraphQL: the fields of its top level."""
    persisted: str = ""
    """GraphQL: the hash or id that stands for a query."""


@final
class Asked:
    """One request, in the one spelling."""

    def __init__(self, method: str, path: str, query: str, calls: tuple[Call, ...], *, bodied: bool = False) -> None:
        self.method = method
        self.path = path
        self.calls = calls
        self.bodied = bodied
        self._query = query

    @cached_property
    def query(self) -> dict[str, list[str]]:
        """All values of each parameter, decoded."""
        return parse_qs(self._query, keep_blank_values=True) if self._query else {}


@final
class Requests:
    """The rules of one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._protocol = endpoint.protocol
        self._every_method = endpoint.mcp is not None and endpoint.mcp.allow_all_known_mcp_methods is True
        self._strict = endpoint.mcp is None or endpoint.mcp.strict_tool_names is not False
        self._allow = [_Pattern(each) for each in allowed_by(endpoint)]
        self._deny = [_Pattern(each) for each in endpoint.deny_rules or ()]
        self._operations = any(each.operation_type for each in (*self._allow, *self._deny))
        self._tools = any(each.tools is not None for each in self._allow)

    def unread(self, asked: Asked) -> str:
        """Returns why a request cannot be judged, or nothing; then it passes nowhere."""
        if self._protocol in ("mcp", "json-rpc"):
            return self._unread_call(asked)
        wants = self._protocol == "graphql" or (self._operations and asked.method == "WEBSOCKET_TEXT")
        return "" if asked.calls or not wants else "its GraphQL could not be read"

    def refuses(self, asked: Asked) -> str:
        """Returns which of its denials a request meets, or nothing."""
        for each in self._deny:
            if self._meets(each, asked):
                return f"its deny_rules name {each}"
        return ""

    def lacks(self, asked: Asked) -> str:
        """Returns what is not allowed of a request, or nothing."""
        if self._is_stream(asked):
            return ""
        if not self._by_call(asked):
            if any(self._allows_http(each, asked) for each in self._allow):
                return ""
            return "its rules do not name that" if self._endpoint.rules else f"it is {self._endpoint.access!r}"
        for call in asked.calls:
            if not self._allows_call(call):
                return f"no rule allows {call.tool or call.method or call.operation_type or call.persisted!r}"
        return ""

    def _unread_call(self, asked: Asked) -> str:
        if not asked.calls and not self._is_stream(asked):
            return "its body could not be read as JSON-RPC"
        wrong = next((each.tool for each in asked.calls if each.tool and not _TOOL.fullmatch(each.tool)), "")
        return f"{wrong[:200]!r} is no plain name of a tool" if wrong and self._strict else ""

    def _is_stream(self, asked: Asked) -> bool:
        """Whether the client only listens."""
        return self._protocol in ("mcp", "json-rpc") and asked.method == "GET" and not asked.calls and not asked.bodied

    def _by_call(self, asked: Asked) -> bool:
        if self._protocol in ("graphql", "mcp", "json-rpc"):
            return True
        return self._operations and asked.method == "WEBSOCKET_TEXT"

    def _meets(self, pattern: _Pattern, asked: Asked) -> bool:
        """Whether a denial is about a request: of several values or calls one is enough."""
        if self._protocol == "sql":
            return pattern.names_command(asked.method)
        if not self._by_call(asked):
            return pattern.names_http(asked) and pattern.finds(asked.query)
        if self._protocol in ("mcp", "json-rpc"):
            return any(pattern.names_call(each, by_glob=True) for each in asked.calls)
        return any(pattern.names_operation(self._effective(each) or each, every=False) for each in asked.calls)

    def _allows_http(self, pattern: _Pattern, asked: Asked) -> bool:
        if self._protocol == "sql":
            return pattern.names_command(asked.method)
        return pattern.names_http(asked) and pattern.keeps_to(asked.query)

    def _allows_call(self, call: Call) -> bool:
        if self._protocol in ("mcp", "json-rpc"):
            if self._every_method and call.method in CORE_METHODS and not (call.method == "tools/call" and self._tools):
                return True
            return any(each.names_call(call, by_glob=call.method in CORE_METHODS) for each in self._allow)
        effective = self._effective(call)
        return effective is not None and any(each.names_operation(effective, every=True) for each in self._allow)

    def _effective(self, call: Call) -> Call | None:
        """The operation a persisted query stands for; None for one that nobody registered."""
        if call.operation_type or not call.persisted:
            return call
        known = self._endpoint.graphql_persisted_queries.get(call.persisted)
        if known is None or self._endpoint.persisted_queries != "allow_registered":
            return None
        return Call(operation_type=known.operation_type, operation_name=known.operation_name, fields=known.fields)


def allowed_by(endpoint: Endpoint) -> list[Request]:
    """Returns the rules of an endpoint, a preset written out."""
    if endpoint.rules is not None:
        return [each.allow for each in endpoint.rules]
    names = _PRESETS.get(endpoint.protocol, {}).get(endpoint.access, ())
    if endpoint.protocol == "graphql":
        return [Request(operation_type=name) for name in names]
    if endpoint.protocol == "sql":
        return [Request(command=name) for name in names]
    return [Request(method=name, path="**") for name in names]


@final
class _Pattern:
    """One rule, prepared."""

    def __init__(self, rule: Request) -> None:
        self.rule = rule
        self.operation_type = rule.operation_type.lower()
        self.tools = _globs(rule.tool if rule.tool is not None else rule.params.get("name"))
        self._method = rule.method.upper()
        self._path = compile_glob(rule.path, "/") if rule.path not in ("", "**") else None
        self._query = [(name, _globs(each) or ()) for name, each in rule.query.items()]
        self._call = compile_glob(rule.method or ("tools/call" if self.tools is not None else "**"), "/")
        self._operation = compile_glob(rule.operation_name or "**", ".")
        self._fields = tuple(compile_glob(each, ".") for each in rule.fields)

    def __str__(self) -> str:
        rule = self.rule
        tool = rule.tool.any if isinstance(rule.tool, AnyOf) else (rule.tool or "",)
        parts = (rule.method, rule.path, rule.command, *tool, rule.operation_type, rule.operation_name, *rule.fields)
        return " ".join(each for each in parts if each)

    def names_http(self, asked: Asked) -> bool:
        if not self._method or self._method not in ("*", asked.method, "GET" if asked.method == "HEAD" else "*"):
            return False
        return self._path is None or self._path.fullmatch(asked.path) is not None

    def keeps_to(self, query: dict[str, list[str]]) -> bool:
        """Whether all values of each parameter it names are as it says."""
        return all(name in query and all(_any(globs, value) for value in query[name]) for name, globs in self._query)

    def finds(self, query: dict[str, list[str]]) -> bool:
        """Whether of each parameter it names some value is as it says."""
        return all(any(_any(globs, value) for value in query.get(name, ())) for name, globs in self._query)

    def names_command(self, command: str) -> bool:
        return self.rule.command == "*" or self.rule.command.upper() == command.upper() != ""

    def names_call(self, call: Call, *, by_glob: bool) -> bool:
        named = self.rule.method in ("*", call.method) or (by_glob and self._call.fullmatch(call.method) is not None)
        return named and (self.tools is None or _any(self.tools, call.tool))

    def names_operation(self, call: Call, *, every: bool) -> bool:
        if self.operation_type not in ("*", call.operation_type.lower()) or not self.operation_type:
            return False
        if not self._operation.fullmatch(call.operation_name):
            return False
        if not self._fields:
            return True
        hits = [_any(self._fields, each) for each in call.fields]
        return (all(hits) and bool(hits)) if every else any(hits)


def _globs(matcher: Matcher | None) -> tuple[re.Pattern[str], ...] | None:
    if matcher is None:
        return None
    return tuple(compile_glob(each, ".") for each in (matcher.any if isinstance(matcher, AnyOf) else (matcher,)))


def _any(globs: tuple[re.Pattern[str], ...], value: str) -> bool:
    return any(each.fullmatch(value) for each in globs)
