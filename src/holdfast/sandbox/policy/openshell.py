"""OpenShell's policy format, version 1, as values.

The names are theirs. A document of theirs loads unchanged (`loading.py`), and what we export loads there
(`exporting.py`). What a value may hold beyond its types is in `checking.py`; what it allows is in `judging.py`.

Where the format tells "left out" from "empty", a field is None when it is left out.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

__all__ = (
    "INSPECTED",
    "SYSTEM",
    "AnyOf",
    "Binary",
    "CredentialBinding",
    "Endpoint",
    "FilesystemPolicy",
    "GraphqlOperation",
    "JsonRpc",
    "Landlock",
    "Matcher",
    "Mcp",
    "Middleware",
    "NetworkPolicy",
    "Policy",
    "Process",
    "Request",
    "Rule",
    "Selector",
)

Protocol = Literal["", "tcp", "rest", "websocket", "graphql", "mcp", "json-rpc", "sql"]

INSPECTED: Final = frozenset(("rest", "websocket", "graphql", "mcp", "json-rpc", "sql"))
"""Protocols whose requests are read one by one; of others only the connection is judged."""


SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/etc")
"""What can be read where a policy says nothing of files: programs, their libraries and settings."""


class FilesystemPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be seen of the file system; what is listed nowhere is not there."""

    include_workdir: bool = False
    """Whether the workspace can be written; a policy without this block means yes."""
    read_only: tuple[str, ...] = ()
    read_write: tuple[str, ...] = ()


class Landlock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do where paths are missing, or Landlock is."""

    compatibility: Literal["best_effort", "hard_requirement"] = "best_effort"


class Process(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose processes these are, in there."""

    run_as_user: str = ""
    run_as_group: str = ""


class AnyOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several patterns, one of which is enough."""

    any: tuple[str, ...] = ()


Matcher = str | AnyOf
"""One pattern, or several."""


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests a rule is about; which of these fields it may have depends on the endpoint's protocol."""

    method: str = ""
    """HTTP: a method or `*`. WebSocket: also `WEBSOCKET_TEXT`, a message of the client. MCP, JSON-RPC: their method."""
    path: str = ""
    """A pattern for the path of the URL."""
    command: str = ""
    """SQL."""
    query: dict[str, Matcher] = {}
    """Patterns for parameters of the query."""
    operation_type: str = ""
    """GraphQL: query, mutation, subscription or `*`."""
    operation_name: str = ""
    fields: tuple[str, ...] = ()
    """GraphQL: patterns for fields of the operation's top level."""
    tool: Matcher | None = None
    """MCP: which tools may be called."""
    params: dict[str, Matcher] = {}
    """MCP: `name`, which says the same as `tool`."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is allowed."""

    allow: Request = Request()


class GraphqlOperation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a persisted query stands for."""

    operation_type: str = ""
    operation_name: str = ""
    fields: tuple[str, ...] = ()


class CredentialBinding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose credentials may be filled in."""

    provider: str = ""


class JsonRpc(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How JSON-RPC is read."""

    max_body_bytes: int = 0
    """0 for 65,536."""


class Mcp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How MCP is read."""

    versions: tuple[str, ...] | None = None
    max_body_bytes: int = 0
    """0 for 65,536."""
    strict_tool_names: bool | None = None
    """Whether only plain names of tools pass; None for yes."""
    allow_all_known_mcp_methods: bool | None = None
    """Whether every method of the protocol itself is allowed; None for no."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somewhere to go, and what may be asked there."""

    host: str = ""
    """A name, an address or a pattern; empty for whatever lies in `allowed_ips`."""
    path: str = ""
    """A pattern that tells apart endpoints of one host and port; empty for every path."""
    port: int = 0
    ports: tuple[int, ...] = ()
    """Where these are given, `port` means nothing."""
    protocol: Protocol = ""
    tls: Literal["", "skip", "terminate", "passthrough"] = ""
    """`skip` for a connection nobody looks into; `terminate` and `passthrough` are from earlier and mean nothing."""
    enforcement: Literal["", "enforce", "audit"] = ""
    """Whether requests that break the rules are refused; left out they are only written down."""
    access: Literal["", "read-only", "read-write", "full"] = ""
    rules: tuple[Rule, ...] | None = None
    deny_rules: tuple[Request, ...] | None = None
    """What is refused whatever else allows it."""
    allowed_ips: tuple[str, ...] = ()
    """The only addresses its name may lead to; private ones are reached through these alone."""
    allow_encoded_slash: bool = False
    websocket_credential_rewrite: bool = False
    request_body_credential_rewrite: bool = False
    allow_uninspected_credentials: bool = False
    persisted_queries: Literal["", "deny", "allow_registered"] = ""
    graphql_persisted_queries: dict[str, GraphqlOperation] = {}
    graphql_max_body_bytes: int = 0
    """0 for 65,536."""
    credential_signing: Literal["", "sigv4", "sigv4:body", "sigv4:no_body"] = ""
    signing_service: str = ""
    signing_region: str = ""
    credential_binding: CredentialBinding | None = None
    json_rpc: JsonRpc | None = None
    mcp: Mcp | None = None

    @property
    def every_port(self) -> tuple[int, ...]:
        """The ports it is about."""
        return self.ports or ((self.port,) if self.port else ())

    @property
    def inspected(self) -> bool:
        """Whether its requests are read, and not only the connection judged."""
        return self.protocol in INSPECTED

    @property
    def enforced(self) -> bool:
        """Whether requests that break its rules are refused."""
        return self.enforcement == "enforce"


class Binary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program, by the path of its executable or a pattern."""

    path: str = ""


class NetworkPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which programs may go where: each of the binaries to each of the endpoints."""

    name: str = ""
    """For people; empty for its key."""
    endpoints: tuple[Endpoint, ...] = ()
    binaries: tuple[Binary, ...] = ()
    """Without any, nothing is allowed."""


class Selector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which hosts something is about."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Middleware(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What requests that are allowed go through."""

    name: str = ""
    middleware: str = ""
    order: int = 0
    config: dict[str, Any] = {}
    """Whatever that middleware understands."""
    on_error: Literal["", "fail_closed", "fail_open"] = ""
    """Left out, a request fails where the middleware does."""
    endpoints: Selector | None = None


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One document."""

    version: Literal[1] = 1
    filesystem_policy: FilesystemPolicy | None = None
    landlock: Landlock = Landlock()
    process: Process = Process()
    network_policies: dict[str, NetworkPolicy] = {}
    network_middlewares: dict[str, Middleware] = {}

    @property
    def filesystem(self) -> FilesystemPolicy:
        """What its block about files means: left out, the system can be read and the workspace written."""
        return self.filesystem_policy or FilesystemPolicy(include_workdir=True, read_only=SYSTEM)
