"""What is exported is read as the same value again, by us and by whoever reads YAML in another version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.sandbox.policy.checking.policies import policy_faults
from holdfast.sandbox.policy.exporting import export
from holdfast.sandbox.policy.loading import examine, load
from holdfast.sandbox.policy.openshell import (
    AnyOf,
    Binary,
    CredentialBinding,
    Endpoint,
    FilesystemPolicy,
    GraphqlOperation,
    JsonRpc,
    Landlock,
    Mcp,
    Middleware,
    NetworkPolicy,
    Policy,
    Process,
    Request,
    Rule,
    Selector,
)
from holdfast.sandbox.policy.profile import Env, Pooling, Profile, Quotas, Tree

FOLDER = Path(__file__).with_name("policies")

# Words that some version of YAML takes for something else, and signs that end or begin something.
TRICKY = st.sampled_from(
    ["yes", "No", "on", "null", "~", "", "1", "1.5", "0o17", "0x1f", "1:30", "1_000", "2026-01-01", ".inf", "=", "<<"]
)
TEXT = TRICKY | st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufffe\uffff"), max_size=20
)
NAME = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True)
HOST = st.builds("{}.example.com".format, NAME | st.sampled_from(["*", "**", "*-api"]))
GLOB = st.from_regex(r"/[a-z0-9/*?.:#'\" -]{0,12}", fullmatch=True)
VALUE = st.from_regex(r"[a-z0-9*?. :#'-]{1,10}", fullmatch=True)
MATCHER = VALUE | st.builds(AnyOf, any=st.lists(VALUE, min_size=1, max_size=3).map(tuple))
PORTS = st.one_of(
    st.fixed_dictionaries({"port": st.integers(1, 65535)}),
    st.fixed_dictionaries({"ports": st.lists(st.integers(1, 65535), min_size=1, max_size=3).map(tuple)}),
)
HTTP = st.builds(
    Request,
    method=st.sampled_from(["GET", "POST", "*"]),
    path=GLOB,
    query=st.dictionaries(TEXT, MATCHER, max_size=2),
)
OPERATION = st.builds(
    Request,
    operation_type=st.sampled_from(["query", "mutation", "subscription", "*"]),
    operation_name=st.just("") | VALUE,
    fields=st.lists(VALUE, max_size=2).map(tuple),
)
TOOL = st.builds(Request, method=st.just("tools/call"), tool=MATCHER)
METHOD = st.builds(Request, method=st.sampled_from(["*", "reports.list", "x/y"]))


def rules(requests: st.SearchStrategy[Request]) -> st.SearchStrategy[dict[str, Any]]:
    some = st.lists(requests, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {"rules": some.map(lambda found: tuple(Rule(allow=each) for each in found))},
        optional={"deny_rules": some.map(tuple)},
    )


PRESET = st.fixed_dictionaries({"access": st.sampled_from(["read-only", "read-write", "full"])})
SIZE = st.integers(0, 2**32 - 1)
REGISTERED = st.dictionaries(TEXT, st.builds(GraphqlOperation, operation_type=VALUE, fields=st.just(("a", "b"))))
SPOKEN = st.one_of(
    st.just({}),
    st.tuples(st.just({"protocol": "rest"}), PRESET | rules(HTTP)).map(lambda two: two[0] | two[1]),
    st.tuples(
        st.fixed_dictionaries({"protocol": st.just("graphql"), "graphql_persisted_queries": REGISTERED}),
        PRESET | rules(OPERATION),
    ).map(lambda two: two[0] | two[1]),
    st.tuples(
        st.fixed_dictionaries({"protocol": st.just("mcp"), "mcp": st.builds(Mcp, max_body_bytes=SIZE) | st.none()}),
        rules(TOOL),
    ).map(lambda two: two[0] | two[1]),
    st.tuples(
        st.fixed_dictionaries({"protocol": st.just("json-rpc"), "json_rpc": st.builds(JsonRpc, max_body_bytes=SIZE)}),
        rules(METHOD),
    ).map(lambda two: two[0] | two[1]),
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "path": GLOB,
        "enforcement": st.sampled_from(["enforce", "audit"]),
        "tls": st.sampled_from(["terminate", "passthrough"]),
        "allowed_ips": st.sampled_from([("10.0.0.0/8",), ("192.168.1.1", "fd00::/8")]),
        "allow_encoded_slash": st.booleans(),
        "allow_uninspected_credentials": st.booleans(),
        "credential_binding": st.builds(CredentialBinding, provider=TEXT.filter(bool)),
    },
)
ENDPOINT = st.builds(lambda host, *parts: Endpoint(host=host, **{k: v for p in parts for k, v in p.items()}),
                     HOST, PORTS, SPOKEN, OPTIONS)  # fmt: skip
NETWORK = st.builds(
    NetworkPolicy,
    name=TEXT,
    endpoints=st.lists(ENDPOINT, max_size=3).map(tuple),
    binaries=st.lists(st.builds(Binary, path=GLOB), max_size=3).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def ordered(found: list[Middleware]) -> dict[str, Middleware]:
    return {f"m{order}": replace(each, order=order) for order, each in enumerate(found)}


MIDDLEWARE = st.builds(
    Middleware,
    name=TEXT,
    middleware=TEXT.filter(bool),
    config=st.dictionaries(TEXT, JSON, max_size=3),
    on_error=st.just("fail_open"),
    endpoints=st.builds(Selector, include=st.lists(HOST, min_size=1, max_size=3).map(tuple)),
)
PATHS = st.lists(st.builds("/{}".format, TEXT.filter(lambda text: ".." not in text and text.strip("/."))), max_size=3)
POLICY = st.builds(
    Policy,
    filesystem_policy=st.none() | st.builds(FilesystemPolicy, read_only=PATHS.map(tuple), read_write=PATHS.map(tuple)),
    landlock=st.builds(Landlock),
    process=st.builds(Process, run_as_user=st.sampled_from(["", "sandbox", "1500"])),
    network_policies=st.dictionaries(TEXT.filter(bool), NETWORK, max_size=3),
    network_middlewares=st.lists(MIDDLEWARE, max_size=3).map(ordered),
)


@pytest.mark.requirement("sandbox:policy-export-round-trip")
@settings(deadline=None)
@given(POLICY)
def test_what_is_exported_is_read_as_the_same_policy(policy: Policy) -> None:
    assert list(policy_faults(policy)) == []
    text = export(policy)
    document = examine(text)
    assert document.problems == (), text
    assert document.value == policy, text
    assert export(document.policy) == text


@settings(deadline=None)
@given(POLICY)
def test_any_reader_of_yaml_finds_texts_where_we_have_texts(policy: Policy) -> None:
    for key, each in yaml.safe_load(export(policy)).get("network_policies", {}).items():
        assert isinstance(key, str)
        assert isinstance(each.get("name", ""), str)
        assert all(isinstance(binary["path"], str) for binary in each.get("binaries", ()))


@settings(deadline=None)
@given(
    st.builds(
        Profile,
        backend=st.sampled_from(["auto", "native", "none"]),
        require=st.sampled_from([(), ("netns", "landlock>=4")]),
        policy=POLICY,
        limits=st.builds(
            Quotas,
            memory=st.none() | st.integers(1, 2**50),
            wall=st.none() | st.floats(1e-9, 1e20),
            cpus=st.none() | st.floats(1e-9, 1e9),
            pids=st.none() | st.integers(1, 10**6),
        ),
        workspace=st.builds(Tree, protect=st.sampled_from([(), (".git",), Tree().protect])),
        pool=st.builds(Pooling, reuse=st.sampled_from(["owner", "never"]), ready=st.integers(0, 64)),
        env=st.builds(Env, allow=st.sampled_from([(), ("LANG", "TERM")])),
    )
)
def test_so_are_profiles(profile: Profile) -> None:
    assert load(export(profile)) == profile


@pytest.mark.parametrize("name", ["web", "calls"])
def test_the_policies_of_the_tables_survive_export(name: str) -> None:
    policy = load((FOLDER / f"{name}.yaml").read_bytes())
    assert load(export(policy)) == policy


def test_an_export_says_what_is_not_as_it_would_be_anyway() -> None:
    policy = Policy(
        process=Process(run_as_user="1500"),
        network_policies={"a": NetworkPolicy(endpoints=(Endpoint(host="a.example.com", port=443),),
                                             binaries=(Binary(path="/usr/bin/git"),))},
    )  # fmt: skip
    assert export(policy) == (
        'version: 1\nprocess:\n  run_as_user: "1500"\nnetwork_policies:\n  a:\n    endpoints:\n'
        "    - host: a.example.com\n      port: 443\n    binaries:\n    - path: /usr/bin/git\n"
    )
    assert export(Profile()).splitlines()[0] == "kind: SandboxProfile"
