"""What is wrong with an endpoint of a network policy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv6Network, ip_network
from typing import Final

from holdfast.sandbox.policy.checking.requests import request_faults
from holdfast.sandbox.policy.matching import address_in, canonical_host, fault_of
from holdfast.sandbox.policy.openshell import Endpoint

__all__ = ("Fault", "endpoint_faults", "host_fault")

Fault = tuple[tuple[str | int, ...], str]
"""A place, and what is wrong there and what to do about it."""

_CLOSED: Final = {
    "loopback": (ip_network("127.0.0.0/8"), ip_network("::1/128")),
    "link-local": (ip_network("169.254.0.0/16"), ip_network("fe80::/10")),
    "unspecified": (ip_network("0.0.0.0/32"), ip_network("::/128")),
}
_PATTERN_LABEL: Final = re.compile(r"\*\*|(?!.*\*\*)[a-z0-9_*](?:[a-z0-9_*-]{0,61}[a-z0-9_*])?")
_VERSIONS: Final = ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
_REQUEST_FIELDS: Final = (
    *("path", "tls", "enforcement", "access", "rules", "deny_rules", "allow_encoded_slash", "persisted_queries"),
    *("websocket_credential_rewrite", "request_body_credential_rewrite", "graphql_persisted_queries", "json_rpc"),
    *("graphql_max_body_bytes", "credential_signing", "signing_service", "signing_region", "mcp"),
)
"""What only those can have whose requests are read."""


def endpoint_faults(endpoint: Endpoint) -> Iterator[Fault]:
    """Yields everything that breaks a rule of the format."""
    yield from _destination(endpoint)
    yield from _addresses(endpoint)
    if endpoint.protocol == "tcp":
        yield from _tcp(endpoint)
        return
    yield from _allowances(endpoint)
    yield from _options(endpoint)
    yield from _credentials(endpoint)
    yield from request_faults(endpoint)


def host_fault(host: str) -> str:
    """Returns what is wrong with a host or a pattern for hosts, or nothing."""
    if any(sign in host for sign in "/@?#") or (":" in host and address_in(host.strip("[]")) is None):
        return "is more than a host; write only the name, and the port as `port`"
    if "*" not in host:
        return "" if canonical_host(host) else "is no host; write a name such as api.example.com, or an address"
    labels = host.lower().removesuffix(".").split(".")
    if len(labels) < 3:
        return "is too wide; a pattern has three labels or more, such as *.example.com"
    if not all(map(_PATTERN_LABEL.fullmatch, labels)):
        return "is no pattern for hosts; in a label only letters, digits, '-' and '*' can stand"
    if "**" in labels[1:] or "*" in labels[-1] or any("*" in each and each != "*" for each in labels[1:]):
        return "has its wildcard in the wrong place; '*' can be part of the first label or a whole one in the middle"
    return ""


def _destination(endpoint: Endpoint) -> Iterator[Fault]:
    if not endpoint.host and not endpoint.allowed_ips:
        yield (), "it names no host; write one, or the ranges it is for as `allowed_ips`"
    elif endpoint.host and (wrong := host_fault(endpoint.host)):
        yield ("host",), f"{endpoint.host[:80]!r} {wrong}"
    if not endpoint.every_port:
        yield (), "it names no port; write `port: 443` or another one"
    ports: list[tuple[tuple[str | int, ...], int]] = [(("ports", n), each) for n, each in enumerate(endpoint.ports)]
    for place, port in (*ports, (("port",), endpoint.port or 1)):
        if not 1 <= port <= 65535:
            yield place, f"{port} is no port; write a number from 1 to 65535"
    if wrong := fault_of(endpoint.path, "/"):
        yield ("path",), f"{endpoint.path[:80]!r}: {wrong}"


def _addresses(endpoint: Endpoint) -> Iterator[Fault]:
    for number, text in enumerate(endpoint.allowed_ips):
        place = ("allowed_ips", number)
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            yield place, f"{text[:80]!r} is no address and no range; write it like 10.1.2.3 or 10.1.0.0/16"
            continue
        for kind, closed in _CLOSED.items():
            if any(network.version == each.version and network.overlaps(each) for each in closed):  # type: ignore[arg-type]
                yield place, f"{text!r} holds {kind} addresses, which nothing opens; list the ranges around them"
        if isinstance(network, IPv6Network) and network.overlaps(IPv6Network("::ffff:0:0/96")):
            yield place, f"{text!r} stands for IPv4 addresses; write them as such"


def _tcp(endpoint: Endpoint) -> Iterator[Fault]:
    if not endpoint.host:
        yield ("protocol",), "tcp needs a host; write its name"
    plain = Endpoint()
    for name in _REQUEST_FIELDS:
        if getattr(endpoint, name) != getattr(plain, name):
            yield (name,), f"tcp reads no requests, so {name!r} would do nothing; take it away"


def _allowances(endpoint: Endpoint) -> Iterator[Fault]:
    protocol = endpoint.protocol
    any_method = endpoint.mcp is not None and endpoint.mcp.allow_all_known_mcp_methods is True
    if endpoint.access and endpoint.rules is not None:
        yield ("access",), "`access` and `rules` exclude each other; keep one of them"
    if endpoint.rules == ():
        yield ("rules",), "an empty list allows nothing; add a rule, or write `access: full` instead"
    if endpoint.deny_rules == ():
        yield ("deny_rules",), "an empty list denies nothing; take it away"
    if protocol in ("mcp", "json-rpc") and endpoint.access:
        yield ("access",), f"{protocol} has no presets; write `rules` with the methods"
    elif protocol and not endpoint.access and endpoint.rules is None and not (protocol == "mcp" and any_method):
        what = "`rules`" if protocol in ("mcp", "json-rpc") else "`access` or `rules`"
        yield ("protocol",), f"{protocol} allows nothing by itself; write {what}"
    if endpoint.deny_rules and not protocol:
        yield ("deny_rules",), "requests are not read here, so nothing can be denied; write a `protocol`, such as rest"
    if protocol == "sql" and endpoint.enforced:
        yield ("enforcement",), "sql can only be watched; write `enforcement: audit`"


def _options(endpoint: Endpoint) -> Iterator[Fault]:
    protocol = endpoint.protocol
    if endpoint.mcp is not None and protocol != "mcp":
        yield ("mcp",), "these options are for `protocol: mcp`; write that, or take them away"
    if endpoint.persisted_queries == "allow_registered" and not endpoint.graphql_persisted_queries:
        yield ("persisted_queries",), "none is registered; list them under `graphql_persisted_queries`"
    if endpoint.mcp is not None and endpoint.mcp.versions is not None:
        if not endpoint.mcp.versions:
            yield ("mcp", "versions"), "an empty list allows no version; take it away"
        for number, version in enumerate(endpoint.mcp.versions):
            if version not in _VERSIONS:
                yield ("mcp", "versions", number), f"{version[:40]!r} is not among {', '.join(_VERSIONS)}"
    if protocol == "mcp" and not endpoint.host:
        yield ("protocol",), "mcp needs a host; write its name"
    for place, size in _sizes(endpoint):
        if not 0 <= size < 2**32:
            yield place, f"{size} is no size; write the bytes, or take it away for 65536"


def _sizes(endpoint: Endpoint) -> Iterator[tuple[tuple[str, ...], int]]:
    yield ("graphql_max_body_bytes",), endpoint.graphql_max_body_bytes
    if endpoint.mcp is not None:
        yield ("mcp", "max_body_bytes"), endpoint.mcp.max_body_bytes
    if endpoint.json_rpc is not None:
        yield ("json_rpc", "max_body_bytes"), endpoint.json_rpc.max_body_bytes


def _credentials(endpoint: Endpoint) -> Iterator[Fault]:
    if endpoint.request_body_credential_rewrite and endpoint.protocol != "rest":
        yield ("request_body_credential_rewrite",), "bodies are read by `protocol: rest` alone; write that"
    if endpoint.websocket_credential_rewrite and endpoint.protocol not in ("rest", "websocket"):
        yield ("websocket_credential_rewrite",), "this is for `protocol: websocket` or rest; write one of them"
    if endpoint.credential_signing:
        if endpoint.request_body_credential_rewrite:
            yield ("credential_signing",), "a request is signed or its body rewritten, not both; keep one of them"
        if not endpoint.signing_service:
            yield ("credential_signing",), "it does not say for which service; write `signing_service`"
    if endpoint.credential_binding is not None and not endpoint.credential_binding.provider:
        yield ("credential_binding",), "it names no provider; write `provider`"
