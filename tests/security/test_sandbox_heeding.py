"""Options of a policy that no sandbox heeds: nothing starts with them, and whoever asks is told."""

from __future__ import annotations

import msgspec
import pytest

from holdfast.errors import IsolationMissing, UsageError
from holdfast.sandbox.backends.choosing import NAMES, open_backend
from holdfast.sandbox.capacity.abilities import asked
from holdfast.sandbox.egress.proxy import Proxy
from holdfast.sandbox.policy.explaining import Touch, explain
from holdfast.sandbox.policy.heeding import UNHEEDED, never_passes, unheeded
from holdfast.sandbox.policy.linting import lint
from holdfast.sandbox.policy.loading import examine
from holdfast.sandbox.policy.openshell import Endpoint, Policy
from holdfast.sandbox.policy.profile import Profile

ENDPOINT = """version: 1
network_policies:
  a:
    endpoints:
      - host: api.example.com
        port: 443
        protocol: rest
        enforcement: enforce
        access: read-only
        {more}
    binaries: [/usr/bin/git]
"""
TEXTS = {
    "middlewares": "version: 1\nnetwork_middlewares:\n  dlp:\n    middleware: builtin/redact\n"
    "    on_error: fail_closed\n    endpoints: { include: [api.example.com] }\n",
    "run-as": 'version: 1\nprocess: { run_as_user: "4242" }\n',
    "signing": ENDPOINT.format(more="credential_signing: sigv4\n        signing_service: s3"),
    "bodies": ENDPOINT.format(more="request_body_credential_rewrite: true"),
    "messages": ENDPOINT.format(more="websocket_credential_rewrite: true"),
    "binding": ENDPOINT.format(more="credential_binding: { provider: github }"),
    "uninspected": ENDPOINT.format(more="allow_uninspected_credentials: true"),
    "versions": ENDPOINT.format(more='mcp: { versions: ["2025-11-25"] }')
    .replace("protocol: rest", "protocol: mcp")
    .replace("access: read-only", "rules: [{ allow: { method: ping } }]"),
    "sizes": ENDPOINT.format(more="graphql_max_body_bytes: 100"),
}
"""A document for each of them."""


def policy(name: str) -> Policy:
    document = examine(TEXTS[name])
    assert document.problems == ()
    return document.policy


@pytest.mark.requirement("sandbox:policy-unheeded-refused")
def test_each_option_that_nobody_heeds_is_asked_for_by_its_name() -> None:
    assert set(TEXTS) == set(UNHEEDED)
    for name in TEXTS:
        assert set(asked(Profile(policy=policy(name)))) - {"network"} == {name}


@pytest.mark.requirement("sandbox:policy-unheeded-refused")
@pytest.mark.parametrize("backend", ["auto", *NAMES])
async def test_no_backend_starts_with_what_nobody_heeds_and_each_says_what_to_do(backend: str) -> None:
    for name in TEXTS:
        profile = msgspec.structs.replace(Profile(policy=policy(name)), backend=backend)
        with pytest.raises(IsolationMissing) as refused:
            await open_backend(profile)
        assert f"{name!r} ({UNHEEDED[name]})" in str(refused.value)
        assert str(refused.value).count(name) <= 2, "and it is said once, not for each backend that was tried"


@pytest.mark.requirement("sandbox:policy-unheeded-refused")
@pytest.mark.parametrize("name", TEXTS)
def test_lint_explain_and_the_proxy_say_so_too(name: str) -> None:
    document = examine(TEXTS[name])
    found = [each for each in lint(document) if each.code == "unheeded"]
    assert found
    assert {each.severity for each in found} == {"high"}
    assert all(each.mark.line > 1 for each in found)
    decision = explain(Profile(policy=document.policy), Touch("a"))
    assert (decision.allowed, repr(name) in decision.reason) == (False, True)
    with pytest.raises(UsageError, match=name):
        Proxy(document.policy, lambda _: None)
    proxy = Proxy(Policy(), lambda _: None)
    with pytest.raises(UsageError, match=name):
        proxy.update(document.policy)


HEEDED = {
    *("host", "path", "port", "ports", "protocol", "tls", "enforcement", "access", "rules", "deny_rules"),
    *("allowed_ips", "allow_encoded_slash", "persisted_queries", "graphql_persisted_queries"),
    *("json_rpc", "mcp", "graphql_max_body_bytes"),  # where the endpoint's protocol is theirs
}
OTHERWISE = {
    "websocket_credential_rewrite": True,
    "request_body_credential_rewrite": True,
    "allow_uninspected_credentials": True,
    "credential_signing": "sigv4",
    "signing_service": "s3",
    "signing_region": "x",
    "credential_binding": policy("binding").network_policies["a"].endpoints[0].credential_binding,
}


@pytest.mark.requirement("sandbox:policy-unheeded-refused")
def test_every_option_of_an_endpoint_is_heeded_or_refused() -> None:
    assert HEEDED | set(OTHERWISE) == set(Endpoint.__struct_fields__)
    for name, value in OTHERWISE.items():
        endpoint = msgspec.structs.replace(Endpoint(host="a.example.com", port=1), **{name: value})
        kept = policy("bodies").network_policies["a"]
        made = Policy(network_policies={"a": msgspec.structs.replace(kept, endpoints=(endpoint,))})
        assert [each.place[-1] for each in unheeded(made)] == [name]


@pytest.mark.requirement("sandbox:policy-never-passes")
@pytest.mark.parametrize(
    ("protocol", "more"),
    [
        ("graphql", "access: full"),
        ("sql", "access: full"),
        ("websocket", "access: full"),
        ("mcp", "rules: [{ allow: { method: tools/call, tool: x } }]"),
        ("json-rpc", "rules: [{ allow: { method: a.b } }]"),
    ],
)
def test_lint_finds_what_cannot_pass(protocol: str, more: str) -> None:
    text = ENDPOINT.format(more=more).replace("protocol: rest", f"protocol: {protocol}")
    text = text.replace("        access: read-only\n", "")
    text = text.replace("enforcement: enforce", "enforcement: audit") if protocol == "sql" else text
    document = examine(text)
    assert document.problems == ()
    (found,) = [each for each in lint(document) if each.code == "never-passes"]
    assert (found.severity, found.mark.line) == ("high", 7)
    assert never_passes(Endpoint(protocol="rest")) == ""
    assert never_passes(Endpoint(protocol="sql", tls="skip")) == "", "nobody looks, so it passes"
