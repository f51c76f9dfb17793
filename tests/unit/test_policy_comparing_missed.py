"""Changes that are easily passed over in a comparison, and the claim that none is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.sandbox.policy.comparing.profiles import compare
from holdfast.sandbox.policy.comparing.rows import Comparison, Files, Setting, described
from holdfast.sandbox.policy.judging import Ask, Connect, Judge
from holdfast.sandbox.policy.loading import load, load_profile
from holdfast.sandbox.policy.openshell import (
    AnyOf,
    Binary,
    Endpoint,
    FilesystemPolicy,
    Landlock,
    Middleware,
    NetworkPolicy,
    Policy,
    Process,
    Request,
    Rule,
)
from holdfast.sandbox.policy.profile import Env, Pooling, Profile, Quotas, Tree

CURL = ("/usr/bin/curl",)


def policy(endpoint: str) -> Policy:
    text = f"version: 1\nnetwork_policies:\n  a:\n    endpoints:\n      - {endpoint}\n    binaries: [/usr/bin/curl]\n"
    found = load(text)
    assert isinstance(found, Policy)
    return found


REST = "host: api.example.com, port: 443, protocol: rest, enforcement: enforce"
DB = "host: db.example.com, port: 5432, protocol: tcp"
NAMED = ", ".join(
    f"{{ allow: {{ method: {each}, path: '**' }} }}"
    for each in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
)
DEPTHS = "{ method: '*', path: /x/* }, { method: '*', path: /x/*/* }, { method: '*', path: /x/*/*/* }"


def asked(path: str, method: str = "GET", query: str = "") -> Ask:
    return Ask("api.example.com", 443, CURL, method, path, query)


@pytest.mark.requirement("sandbox:policy-diff-complete")
@pytest.mark.parametrize(
    ("before", "after", "question", "line"),
    [
        (f"{DB}, allowed_ips: [10.1.0.0/16]", f"{DB}, allowed_ips: [10.0.0.0/15]", "10.0.0.5", "at 10.0.0.0/15"),
        (f"{DB}, allowed_ips: [10.0.0.255]", f"{DB}, allowed_ips: [10.0.0.0/24]", "10.0.0.5", "at 10.0.0.0/24"),
        (
            f"{DB}, allowed_ips: [10.9.9.9]",
            f"{DB}, allowed_ips: [10.9.9.9, 192.0.0.0/8]",  # which begins with addresses nobody may reach
            "192.1.1.1",
            "at 192.0.0.0/8",
        ),
        (f"{DB}, allowed_ips: ['fd00::/64']", f"{DB}, allowed_ips: ['fd00::/48']", "fd00:0:0:9::1", "at fd00::/48"),
        (
            f"{REST}, rules: [{{ allow: {{ method: GET, path: '/repos/*/raw' }} }}]",
            f"{REST}, allow_encoded_slash: true, rules: [{{ allow: {{ method: GET, path: '/repos/*/raw' }} }}]",
            asked("/repos/a%2Fb/raw"),
            "GET HEAD /repos/*/raw (an encoded slash in it)",
        ),
        (f"{REST}, rules: [{NAMED}]", f"{REST}, access: full", asked("/x", "PROPFIND"), "others **"),
        (
            f"{REST}, access: full, deny_rules: [{{ method: '*', path: '/x/**' }}]",
            f"{REST}, access: full, deny_rules: [{DEPTHS}]",
            asked("/x/a/b/c/d"),
            "* /x/**",
        ),
        (
            f"{REST}, rules: [{{ allow: {{ method: GET, path: '/v1/w*' }} }}]",
            f"{REST}, rules: [{{ allow: {{ method: GET, path: '/v1/*' }} }}]",
            asked("/v1/secrets"),
            "GET HEAD /v1/*",
        ),
        (
            "host: 'w*.corp.example.com', port: 443",
            "host: '*.corp.example.com', port: 443",
            Connect("payroll.corp.example.com", 443, CURL),
            "*.corp.example.com:443 everything",
        ),
        (
            f"{REST}, access: full, deny_rules: [{{ method: GET, path: /q, query: {{ role: '*' }} }}]",
            f"{REST}, access: full, deny_rules: [{{ method: GET, path: /q, query: {{ role: 'w*' }} }}]",
            asked("/q", query="role=admin"),
            "GET HEAD /q with role=*",
        ),
        (
            f"{REST}, rules: [{{ allow: {{ method: GET, path: '/[a-c]' }} }}]",
            f"{REST}, rules: [{{ allow: {{ method: GET, path: '/[a-k]' }} }}]",
            asked("/e"),
            "GET HEAD /[a-k]",
        ),
        (
            f"{REST}, access: read-only, tls: skip",
            f"{REST}, access: read-only",
            replace(asked("/x"), secure=True),
            "GET HEAD OPTIONS **",
        ),
    ],
)
def test_what_one_example_would_not_show_is_said(
    before: str, after: str, question: Ask | Connect | str, line: str
) -> None:
    old, new = policy(f"{{ {before} }}"), policy(f"{{ {after} }}")
    for judged, expected in ((Judge(old), False), (Judge(new), True)):
        if isinstance(question, str):
            found = judged.dial(Connect("db.example.com", 5432, CURL), question)
        else:
            found = judged.request(question) if isinstance(question, Ask) else judged.connect(question)
        assert found.allowed is expected
    assert line in described(compare(old, new))


PLAIN = Profile(
    backend="native",
    require=("netns", "landlock>=3"),
    limits=Quotas(memory=1000, wall=9),
    workspace=Tree(apply="when-succeeded", rollback="failed"),
    env=Env(secrets={"KEY": ("api.example.com",)}),
    pool=Pooling(reuse="never"),
    policy=Policy(landlock=Landlock(compatibility="hard_requirement")),
)


@pytest.mark.requirement("sandbox:policy-diff-profiles")
@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"backend": "none"}, "backend: native -> none"),
        ({"require": ("netns",)}, "require landlock>=3: yes -> no"),
        ({"require": ("netns", "landlock>=1")}, "require landlock>=3: yes -> no"),
        ({"limits": Quotas(memory=None, wall=9)}, "limits.memory: 1,000 -> no limit"),
        ({"limits": Quotas(memory=1000, wall=10)}, "limits.wall: 9 -> 10"),
        ({"workspace": Tree(protect=(), apply="when-succeeded", rollback="failed")}, "write the workspace/.git/hooks"),
        ({"workspace": Tree(apply="when-ended", rollback="failed")}, "workspace.apply: when-succeeded -> when-ended"),
        ({"workspace": Tree(apply="when-succeeded")}, "workspace.rollback: failed -> never"),
        ({"env": Env(allow=("TOKEN",), secrets=PLAIN.env.secrets)}, "env.allow TOKEN: no -> yes"),
        (
            {"env": Env(secrets={"KEY": ("api.example.com", "evil.example.net")})},
            "env.secrets KEY to evil.example.net: no -> yes",
        ),
        ({"pool": Pooling()}, "pool.reuse: never -> owner"),
        ({"policy": Policy()}, "landlock: hard_requirement -> best_effort"),
    ],
)
def test_what_a_profile_says_beside_its_policy_is_compared_too(changed: dict[str, object], line: str) -> None:
    loose = replace(PLAIN, **changed)
    assert f"+ {line}" in described(compare(PLAIN, loose)).splitlines()
    assert compare(loose, PLAIN).closed
    assert compare(loose, loose) == Comparison()


def test_the_profiles_of_files_are_compared_and_not_only_the_policies_in_them() -> None:
    old = load_profile("kind: SandboxProfile\nbackend: native\nrequire: [netns]\n")
    new = load_profile("kind: SandboxProfile\nbackend: none\nworkspace: { protect: [] }\n")
    opened = compare(old, new).opened
    assert Setting("backend", "native", "none") in opened
    assert Setting("require netns", "yes", "no") in opened
    assert Files("the workspace/.mcp.json", "write") in opened


@pytest.mark.requirement("sandbox:policy-diff-complete")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Profile(backend="native"), Profile(backend="process")),
        (Profile(policy=Policy(process=Process(run_as_user="7"))), Profile()),
        (
            Profile(policy=Policy(network_middlewares={"a": Middleware(middleware="x", on_error="fail_closed")})),
            Profile(policy=Policy(network_middlewares={"a": Middleware(middleware="x", on_error="fail_open")})),
        ),
        (
            Profile(policy=policy(f"{{ {REST}, access: full }}")),
            Profile(policy=policy(f"{{ {REST}, access: full, request_body_credential_rewrite: true }}")),
        ),
        (
            Profile(policy=policy("{ host: '*.a.1x.com', port: 1 }")),
            Profile(
                policy=Policy(
                    network_policies={
                        "a": NetworkPolicy(endpoints=(Endpoint(host="*.0.0.1", port=1),), binaries=(Binary(path="/a"),))
                    }
                )
            ),
        ),
    ],
)
def test_what_cannot_be_told_is_said_to_be_so_in_both_directions(old: Profile, new: Profile) -> None:
    for one, two in ((old, new), (new, old)):
        assert compare(one, two).unsure
        assert "? cannot tell: " in described(compare(one, two))
    assert not compare(new, new).unsure


def test_patterns_whose_kinds_are_beyond_counting_are_said_to_be_untold() -> None:
    def many(start: int) -> Policy:
        rules = ", ".join(
            f"{{ allow: {{ method: GET, path: '/*{each}*{each}{each}*/z' }} }}" for each in "abcdefghijkl"[start:]
        )
        return policy(f"{{ {REST}, rules: [{rules}] }}")

    found = compare(many(1), many(0))
    assert found.opened or found.unsure


def test_rules_that_stand_in_another_order_or_under_another_key_are_the_same_rules() -> None:
    one, two = Endpoint(host="a.example.com", port=1), Endpoint(host="b.example.com", port=1)
    programs = (Binary(path="/a"),)
    old = Policy(network_policies={"x": NetworkPolicy(endpoints=(one, two), binaries=programs)})
    new = Policy(
        network_policies={
            "y": NetworkPolicy(endpoints=(two,), binaries=programs),
            "z": NetworkPolicy(endpoints=(one,), binaries=programs),
        }
    )
    assert compare(old, new) == Comparison()


PATHS = st.sampled_from(
    ["**", "/a", "/a/*", "/a/**", "/**/b", "/w*", "/w1tness", "/a?", "/*/*", "/a/*/b", "/[a-c]", "/[!a]*", "/a/**/b/**"]
)
SELECTORS = st.sampled_from(["", "", "", "/a", "/a/**", "/*/b", "/w*"])
VALUES = st.sampled_from(["*", "w*", "a", "[ab]", "**", "?"])
MATCHERS = VALUES | st.lists(VALUES, min_size=1, max_size=2).map(lambda found: AnyOf(any=tuple(found)))
REQUESTS = st.builds(
    Request,
    method=st.sampled_from(["GET", "GET", "POST", "PURGE", "*"]),
    path=PATHS,
    query=st.dictionaries(st.sampled_from("pq"), MATCHERS, max_size=1),
)
RANGES = st.lists(
    st.sampled_from(
        ["10.1.0.0/16", "10.0.0.0/15", "10.0.0.255", "10.0.0.0/24", "fd00::/64", "fd00::/63", "8.8.8.0/24"]
    ),
    max_size=2,
)
HOSTS = st.sampled_from(["a.example.com", "*.example.com", "w*.example.com", "**.example.com", "10.0.0.255", ""])
ENDPOINTS = st.builds(
    lambda rules, deny, access, ips, **given: Endpoint(
        port=443,
        rules=tuple(Rule(allow=each) for each in rules) or None,
        access="" if rules else access,
        deny_rules=tuple(deny) or None,
        allowed_ips=tuple(ips),
        **given,
    ),
    rules=st.lists(REQUESTS, max_size=2),
    deny=st.lists(REQUESTS, max_size=2),
    access=st.sampled_from(["read-only", "read-write", "full"]),
    ips=RANGES,
    host=HOSTS,
    path=SELECTORS,
    protocol=st.sampled_from(["rest", "rest", "rest", "", "sql"]),
    enforcement=st.sampled_from(["enforce", "enforce", "enforce", "audit"]),
    tls=st.sampled_from(["", "", "", "skip"]),
    allow_encoded_slash=st.booleans(),
)
PROGRAMS = st.sampled_from(["/usr/bin/git", "/usr/bin/*", "/opt/**", "/opt/w*"])
NETWORKS = st.builds(
    lambda endpoints, programs: NetworkPolicy(endpoints=tuple(endpoints), binaries=tuple(map(_binary, programs))),
    st.lists(ENDPOINTS, min_size=1, max_size=2),
    st.lists(PROGRAMS, min_size=1, max_size=2),
)
FILES = st.none() | st.builds(
    FilesystemPolicy,
    include_workdir=st.booleans(),
    read_only=st.lists(st.sampled_from(["/usr", "/usr/lib", "/data"]), max_size=2).map(tuple),
    read_write=st.lists(st.sampled_from(["/data", "/data/x"]), max_size=1).map(tuple),
)
POLICIES = st.builds(
    Policy,
    filesystem_policy=FILES,
    network_policies=st.dictionaries(st.sampled_from("xy"), NETWORKS, max_size=2),
)
SEGMENTS = st.sampled_from(["a", "b", "c", "e", "ab", "w", "w1tness", "secrets", "x%2Fy", "%41", "q.", "~"])
ASKS = st.builds(
    Ask,
    host=st.sampled_from(
        ["a.example.com", "w.example.com", "zz.example.com", "w.w.example.com", "10.0.0.255", "o.net"]
    ),
    port=st.just(443),
    binaries=st.lists(
        st.sampled_from(["/usr/bin/git", "/usr/bin/z", "/opt/w", "/opt/a/b", "/opt/z"]), min_size=1, max_size=3
    ).map(tuple),
    method=st.sampled_from(["GET", "HEAD", "POST", "PURGE", "PROPFIND", "DELETE", "SELECT", "DROP"]),
    path=st.lists(SEGMENTS, max_size=5).map(lambda found: "/" + "/".join(found)),
    query=st.lists(
        st.tuples(st.sampled_from("pqr"), st.sampled_from(["a", "b", "w1tness", "admin", "a.b", "", "c"])), max_size=3
    ).map(lambda found: "&".join(f"{name}={value}" for name, value in found)),
    secure=st.booleans(),
    bodied=st.booleans(),
)
DIALLED = st.sampled_from(["10.0.0.5", "10.0.0.255", "10.1.2.3", "fd00::1", "fd00:0:0:1::1", "8.8.8.8", "1.1.1.1"])


def _binary(path: str) -> Binary:
    return Binary(path=path)


@pytest.mark.requirement("sandbox:policy-diff-complete")
@settings(deadline=None, max_examples=80)
@given(POLICIES, POLICIES, st.lists(ASKS, min_size=10, max_size=40), DIALLED)
def test_whatever_newly_passes_between_any_two_policies_is_said_or_said_to_be_untold(
    before: Policy, after: Policy, asks: list[Ask], address: str
) -> None:
    found = compare(before, after)
    assert compare(after, before) == Comparison(found.closed, found.opened, found.unsure)
    for ask in asks:
        for was, will in zip(_passing(Judge(before), ask, address), _passing(Judge(after), ask, address), strict=True):
            if will and not was:
                assert found.opened or found.unsure, ask
            if was and not will:
                assert found.closed or found.unsure, ask


def _passing(judge: Judge, ask: Ask, address: str) -> tuple[bool, ...]:
    """Whether a request passes, whether it does to an address, and whether anything does that nobody reads."""
    connect = Connect(ask.host, ask.port, ask.binaries)
    made, dialled = judge.connect(connect), judge.dial(connect, address).allowed
    request = judge.request(ask).allowed
    return request, request and dialled, made.allowed and not made.inspect, dialled and not made.inspect


ONE = st.builds(lambda network: Policy(network_policies={"x": network}), NETWORKS)


@settings(deadline=None, max_examples=60)
@given(ONE, ONE)
def test_small_policies_can_always_be_told_apart(before: Policy, after: Policy) -> None:
    assert compare(before, after).unsure == ()
