"""What a policy may say and no sandbox of ours heeds.

The format knows more than what keeps to it here. Whoever wrote such an option relies on it, so nothing is started by a
policy that has one: each is refused by name, at each backend, with what to do. Beside them stand the endpoints at
which every request is refused, because what would have to be read there cannot be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from holdfast.sandbox.policy.openshell import Endpoint, Policy

__all__ = ("TLS_UNREAD", "UNHEEDED", "Unheeded", "never_passes", "sealed_in_tls", "unheeded")

UNHEEDED: Final = {
    "middlewares": "policy: network_middlewares; nothing but the policy looks at requests: take them away",
    "run-as": "policy: process; commands run as the sandbox's own user: take it away, or write sandbox",
    "signing": "policy: credential_signing; no request is signed: take it away, and sign outside",
    "bodies": "policy: request_body_credential_rewrite; credentials go into a header alone: take it away",
    "messages": "policy: websocket_credential_rewrite; credentials go into a header alone: take it away",
    "binding": "policy: credential_binding; bind secrets to hosts instead, in env: secrets",
    "uninspected": "policy: allow_uninspected_credentials; they go only where requests are read: take it away",
    "versions": "policy: mcp: versions; all are let through: take it away",
    "sizes": "policy: max_body_bytes of another protocol than the endpoint's; no body is measured there: take it away",
}
"""By name, as refusals have them: where it stands, and what to do."""


TLS_UNREAD: Final = "requests are read inside TLS, which nothing can end here: pip install 'holdfast[egress]'"
"""Why nothing is started where an endpoint needs the extra, and what to do."""


def sealed_in_tls(policy: Policy) -> Iterator[tuple[str | int, ...]]:
    """Yields the place of each endpoint whose requests are read, and lie in TLS."""
    for key, each in policy.network_policies.items():
        for number, endpoint in enumerate(each.endpoints):
            if endpoint.inspected and endpoint.tls != "skip" and set(endpoint.every_port) != {80}:
                yield "network_policies", key, "endpoints", number


class Unheeded(msgspec.Struct, frozen=True):
    """One option that nobody heeds."""

    ability: str
    """A name in `UNHEEDED`."""
    place: tuple[str | int, ...]
    """Where in the policy it is."""


def unheeded(policy: Policy) -> Iterator[Unheeded]:
    """Yields every option that nobody heeds."""
    for name in ("run_as_user", "run_as_group"):
        if getattr(policy.process, name) not in ("", "sandbox"):
            yield Unheeded("run-as", ("process", name))
    for key in policy.network_middlewares:
        yield Unheeded("middlewares", ("network_middlewares", key))
    for key, each in policy.network_policies.items():
        for number, endpoint in enumerate(each.endpoints):
            for ability, place in _options(endpoint):
                yield Unheeded(ability, ("network_policies", key, "endpoints", number, *place))


_ALWAYS: Final = (
    ("credential_signing", "signing"),
    ("signing_service", "signing"),
    ("signing_region", "signing"),
    ("request_body_credential_rewrite", "bodies"),
    ("websocket_credential_rewrite", "messages"),
    ("credential_binding", "binding"),
    ("allow_uninspected_credentials", "uninspected"),
)


def _options(endpoint: Endpoint) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, ability in _ALWAYS:
        if getattr(endpoint, name):
            yield ability, (name,)
    if endpoint.mcp is not None and endpoint.mcp.versions is not None:
        yield "versions", ("mcp", "versions")
    # Where the protocol is theirs, no request with a body passes, so these are kept to.
    if endpoint.graphql_max_body_bytes and endpoint.protocol != "graphql":
        yield "sizes", ("graphql_max_body_bytes",)
    if endpoint.json_rpc is not None and endpoint.json_rpc.max_body_bytes and endpoint.protocol != "json-rpc":
        yield "sizes", ("json_rpc", "max_body_bytes")


def never_passes(endpoint: Endpoint) -> str:
    """Returns why no request passes at an endpoint, or nothing."""
    if endpoint.tls == "skip" and not endpoint.enforced:
        return ""
    if endpoint.protocol in ("mcp", "json-rpc"):
        return "JSON-RPC in bodies is not read here, so all but listening is refused; write `protocol: rest` for it"
    if endpoint.protocol == "graphql":
        return "GraphQL in bodies is not read here, so every request is refused; write `protocol: rest` with its path"
    if endpoint.protocol == "sql":
        return "only HTTP is read here, so every statement is refused; write `protocol: tcp`, which reads nothing"
    if endpoint.protocol == "websocket":
        return "where requests are read nothing becomes a WebSocket, so it is refused; leave `protocol` out for that"
    return ""
