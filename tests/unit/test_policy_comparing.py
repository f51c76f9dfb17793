"""What changed between two policies, as what became reachable and what stopped being so."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.sandbox.policy.comparing.profiles import compare
from holdfast.sandbox.policy.comparing.rows import Comparison, Files, Reach, described
from holdfast.sandbox.policy.judging import Ask, Judge
from holdfast.sandbox.policy.loading import load
from holdfast.sandbox.policy.openshell import Binary, Endpoint, NetworkPolicy, Policy, Request, Rule

RULE = """
  web:
    endpoints:
      - host: {host}
        port: 443
        {more}
    binaries: [{binaries}]
"""


def policy(
    *, host: str = "api.example.com", more: str = "", binaries: str = "/usr/bin/curl", files: str = ""
) -> Policy:
    rule = RULE.format(host=host, more=more, binaries=binaries)
    found = load(f"version: 1\n{files}\nnetwork_policies:{rule}")
    assert isinstance(found, Policy)
    return found


def lines(before: Policy, after: Policy) -> list[str]:
    return described(compare(before, after)).splitlines()


REST = "protocol: rest\n        enforcement: enforce\n        "
NOTHING = ["nothing became reachable, and nothing stopped being so"]


@pytest.mark.requirement("sandbox:policy-diff")
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, NOTHING),
        ({}, {"host": '"*.example.com"'}, ["+ /usr/bin/curl -> *.example.com:443 everything"]),
        ({}, {"binaries": "/usr/bin/curl, /opt/**"}, ["+ /opt/** -> api.example.com:443 everything"]),
        (
            {},
            {"binaries": "/usr/bin/git"},
            [
                "+ /usr/bin/git -> api.example.com:443 everything",
                "- /usr/bin/curl -> api.example.com:443 everything",
            ],
        ),
        (
            {"more": REST + "access: read-only"},
            {"more": REST + "access: read-write"},
            ["+ /usr/bin/curl -> api.example.com:443 POST PUT PATCH **"],
        ),
        (
            {"more": REST + "access: full"},
            {"more": REST + 'access: full\n        deny_rules: [{ method: "*", path: /admin/** }]'},
            ["- /usr/bin/curl -> api.example.com:443 * /admin/**"],
        ),
        (
            {"more": REST + 'access: full\n        deny_rules: [{ method: "*", path: /admin/** }]'},
            {"more": REST + "access: full"},
            ["+ /usr/bin/curl -> api.example.com:443 * /admin/**"],
        ),
        (
            {"more": REST + "access: read-only"},
            {"more": "protocol: rest\n        access: read-only"},  # it does not enforce any more
            ["+ /usr/bin/curl -> api.example.com:443 POST PUT PATCH DELETE others **"],
        ),
        (
            {"more": REST + "access: full"},
            {},  # nobody reads requests any more: all of them passed before, and now other things do, too
            ["+ /usr/bin/curl -> api.example.com:443 what nobody reads any more, whatever it is"],
        ),
        ({}, {"more": "allowed_ips: [10.1.0.0/16]"},
            [
                "+ /usr/bin/curl -> api.example.com:443 at 10.1.0.0/16 everything",
                "- /usr/bin/curl -> api.example.com:443 at public addresses everything",
            ]),
        (
            {"files": "filesystem_policy: { read_only: [/usr] }"},
            {"files": "filesystem_policy: { include_workdir: true, read_only: [/usr, /etc], read_write: [/usr/l] }"},
            ["+ read /etc", "+ write /usr/l", "+ write the workspace"],
        ),
    ],
)  # fmt: skip
def test_each_difference_is_one_line(before: dict[str, str], after: dict[str, str], expected: list[str]) -> None:
    assert lines(policy(**before), policy(**after)) == expected


def test_a_wider_pattern_for_paths_shows_what_lies_deeper() -> None:
    narrow = policy(more=REST + "rules: [{ allow: { method: GET, path: /a/* } }]")
    wide = policy(more=REST + "rules: [{ allow: { method: GET, path: /a/** } }]")
    opened = compare(narrow, wide).opened
    assert opened == (Reach("/usr/bin/curl", "api.example.com", 443, "/a/**", ("GET", "HEAD")),)


def test_a_comparison_turned_round_is_the_other_way_round() -> None:
    one = policy(more=REST + "access: read-only", files="filesystem_policy: { read_only: [/usr] }")
    two = policy(host='"*-api.example.com"', binaries="/opt/*", files="filesystem_policy: { read_write: [/data] }")
    there, back = compare(one, two), compare(two, one)
    assert there == Comparison(back.closed, back.opened)
    assert Files("/data", "write") in there.opened
    assert Files("/usr", "read") in there.closed


def test_what_bodies_ask_for_is_compared_too() -> None:
    def mcp(tools: str) -> Policy:
        first = "{ allow: { method: tools/call, tool: { any: [" + tools + "] } } }"
        return policy(more="protocol: mcp\n        enforcement: enforce\n        rules: [" + first + "]")

    (opened,) = compare(mcp("search"), mcp("search, delete")).opened
    assert isinstance(opened, Reach)
    assert opened.methods == ("tools/call delete",)

    def graphql(fields: str) -> Policy:
        first = "{ allow: { operation_type: query, fields: [" + fields + "] } }"
        return policy(more="protocol: graphql\n        enforcement: enforce\n        rules: [" + first + "]")

    (closed,) = compare(graphql("viewer, secrets"), graphql("viewer")).closed
    assert isinstance(closed, Reach)
    assert "secrets" in closed.methods[0]


PATTERN = st.sampled_from(["**", "/a", "/a/b", "/a/*", "/*/b", "/a/**", "/**/b", "/a*", "/a?", "/a/*/b"])
METHOD = st.sampled_from(["GET", "POST", "*"])
REQUEST = st.builds(Request, method=METHOD, path=PATTERN)
SPOKEN = st.one_of(
    st.fixed_dictionaries({"access": st.sampled_from(["read-only", "read-write", "full"])}),
    st.lists(REQUEST, min_size=1, max_size=2).map(lambda found: {"rules": tuple(Rule(allow=each) for each in found)}),
)
ENDPOINT = st.builds(
    lambda host, enforcement, deny, spoken: Endpoint(
        host=host, port=443, protocol="rest", enforcement=enforcement, deny_rules=tuple(deny) or None, **spoken
    ),
    st.sampled_from(["a.example.com", "*.example.com", "**.example.com", "b.example.com"]),
    st.sampled_from(["enforce", "enforce", "audit"]),
    st.lists(REQUEST, max_size=2),
    SPOKEN,
)
BINARY = st.sampled_from(["/usr/bin/git", "/usr/bin/*", "/usr/**", "/opt/x"]).map(lambda path: Binary(path=path))
NETWORK = st.builds(
    NetworkPolicy,
    endpoints=st.lists(ENDPOINT, min_size=1, max_size=2).map(tuple),
    binaries=st.lists(BINARY, min_size=1, max_size=2).map(tuple),
)
POLICY = st.builds(Policy, network_policies=st.dictionaries(st.sampled_from(["x", "y"]), NETWORK, max_size=2))
HOSTS = ("a.example.com", "b.example.com", "c.example.com", "c.d.example.com")
PROGRAMS = ("/usr/bin/git", "/usr/bin/z", "/usr/z", "/opt/x")
PATHS = ("/", "/a", "/ab", "/b", "/a/b", "/a/c", "/c/b", "/a/c/b", "/c/d/b", "/a/b/c")


def edits(policy: Policy) -> list[Policy]:
    """Policies that say one thing less."""
    found: list[Policy] = []
    for key, each in policy.network_policies.items():
        changed = [
            replace(each, binaries=each.binaries[:n] + each.binaries[n + 1 :]) for n in range(len(each.binaries))
        ]
        for n, endpoint in enumerate(each.endpoints):
            kept = [*_less(endpoint)]
            changed += [replace(each, endpoints=(*each.endpoints[:n], less, *each.endpoints[n + 1 :])) for less in kept]
            changed.append(replace(each, endpoints=each.endpoints[:n] + each.endpoints[n + 1 :]))
        found += [replace(policy, network_policies=policy.network_policies | {key: less}) for less in changed]
    return found


def _less(endpoint: Endpoint) -> Iterator[Endpoint]:
    yield replace(endpoint, enforcement="" if endpoint.enforced else "enforce")
    denied, rules = endpoint.deny_rules or (), endpoint.rules or ()
    for n in range(len(denied)):
        yield replace(endpoint, deny_rules=(denied[:n] + denied[n + 1 :]) or None)
    for n in range(len(rules) if len(rules) > 1 else 0):
        yield replace(endpoint, rules=rules[:n] + rules[n + 1 :])


@pytest.mark.requirement("sandbox:policy-diff")
@settings(deadline=None)
@given(POLICY.filter(lambda policy: edits(policy) != []), st.data())
def test_whatever_newly_passes_or_no_longer_does_is_not_passed_over(before: Policy, data: st.DataObject) -> None:
    after = data.draw(st.sampled_from(edits(before)))
    old, new = Judge(before), Judge(after)
    found = compare(before, after)
    for host, program, path, method in product(HOSTS, PROGRAMS, PATHS, ("GET", "POST", "DELETE")):
        ask = Ask(host, 443, (program,), method, path)
        was, will = old.request(ask).allowed, new.request(ask).allowed
        if was != will:
            assert found.opened if will else found.closed, (ask, described(found))


@settings(deadline=None)
@given(POLICY)
def test_nothing_changes_between_a_policy_and_itself(policy: Policy) -> None:
    assert compare(policy, policy) == Comparison()
