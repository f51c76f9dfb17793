"""What a policy allows: tables of decisions that the documented rules imply."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UsageError
from holdfast.sandbox.policy.judging import Ask, Call, Connect, Decision, Judge
from holdfast.sandbox.policy.loading import load
from holdfast.sandbox.policy.matching import canonical_host, canonical_path, compile_glob
from holdfast.sandbox.policy.openshell import Binary, Endpoint, NetworkPolicy, Policy

FOLDER = Path(__file__).with_name("policies")
CURL = ("/usr/bin/curl",)


def judge(name: str) -> Judge:
    policy = load((FOLDER / f"{name}.yaml").read_bytes(), name)
    assert isinstance(policy, Policy)
    return Judge(policy)


def rows(name: str) -> list[tuple[str, ...]]:
    lines = (FOLDER / f"{name}.table").read_text("utf-8").splitlines()
    return [tuple(each.strip() for each in line.split("|")) for line in lines if line and not line.startswith("#")]


def asked(judge: Judge, binaries: str, where: str, request: str) -> Decision:
    host, _, port = where.rpartition(":")
    if not request:
        return judge.connect(Connect(host, int(port), tuple(binaries.split())))
    method, _, target = request.partition(" ")
    path, _, query = target.partition("?")
    return judge.request(Ask(host, int(port), tuple(binaries.split()), method, path, query))


def outcome(decision: Decision) -> str:
    return "audit" if decision.audit else "allow" if decision.allowed else "deny"


@pytest.mark.requirement("sandbox:policy-decisions")
@pytest.mark.parametrize("name", ["web"])
def test_each_row_of_the_table_is_decided_as_the_format_documents_it(name: str) -> None:
    judged = judge(name)
    table = rows(name)
    assert len(table) >= 60
    wrong: list[str] = []
    for expected, binaries, where, request in table:
        decision = asked(judged, binaries, where, request)
        if outcome(decision) != expected:
            wrong.append(f"{expected} | {binaries} | {where} | {request}: {decision.reason}")
        assert decision.reason
        assert decision.allowed or not decision.audit
    assert wrong == []


def test_a_decision_says_which_rule_made_it_and_what_could_be_done() -> None:
    judged = judge("web")
    denied = asked(judged, "/usr/bin/wget", "api.example.com:443", "")
    assert denied.rule == "code_host"
    assert "'/usr/bin/wget'" in denied.reason
    assert "add" in denied.reason
    other = asked(judged, "/usr/bin/curl", "api.example.com:80", "")
    assert "only to 443" in other.reason
    audit = asked(judged, "/usr/bin/curl", "watched.example.com:443", "DELETE /x")
    assert "enforcement: enforce" in audit.reason
    assert audit.rule == "watched"
    by_deny = asked(judged, "/usr/bin/curl", "api.example.com:443", "GET /admin/x")
    assert "/admin/**" in by_deny.reason


def test_a_connection_whose_requests_are_to_be_read_says_so() -> None:
    judged = judge("web")
    assert asked(judged, "/usr/bin/curl", "api.example.com:443", "").inspect
    assert not asked(judged, "/usr/bin/curl", "tunnel.example.com:22", "").inspect
    # One rule reads, another does not: then it is read, and the other adds nothing.
    assert asked(judged, "/usr/bin/curl", "overlap.example.com:443", "").inspect


@pytest.mark.requirement("sandbox:policy-private-addresses")
@pytest.mark.parametrize(
    ("host", "port", "address", "allowed"),
    [
        ("api.example.com", 443, "93.184.216.34", True),
        ("api.example.com", 443, "10.0.0.1", False),
        ("api.example.com", 443, "127.0.0.1", False),
        ("api.example.com", 443, "169.254.169.254", False),
        ("api.example.com", 443, "::ffff:10.0.0.1", False),
        ("api.example.com", 443, "fe80::1", False),
        ("api.example.com", 443, "0.0.0.0", False),
        ("api.example.com", 443, "nonsense", False),
        ("intern.example.com", 443, "10.20.3.4", True),
        ("intern.example.com", 443, "10.21.3.4", False),
        ("intern.example.com", 443, "93.184.216.34", False),
        ("intern.example.com", 443, "::ffff:10.20.3.4", True),
        ("unknown.example.com", 443, "93.184.216.34", False),
    ],
)
def test_an_address_that_was_looked_up_is_judged_for_itself(host: str, port: int, address: str, allowed: bool) -> None:
    decision = judge("web").dial(Connect(host, port, CURL), address)
    assert decision.allowed is allowed
    assert decision.reason


@pytest.mark.parametrize(
    "policy",
    [
        NetworkPolicy(endpoints=(Endpoint(host="a.example.com", port=443, allowed_ips=("ten",)),)),
        NetworkPolicy(binaries=(Binary(path="/opt/*{"),)),
    ],
)
def test_a_policy_that_was_made_and_is_none_is_refused(policy: NetworkPolicy) -> None:
    with pytest.raises(UsageError, match="network policy 'a'"):
        Judge(Policy(network_policies={"a": policy}))


def test_a_question_to_a_hundred_rules_takes_tens_of_microseconds() -> None:
    networks = {
        f"rule{n}": NetworkPolicy(
            endpoints=(Endpoint(host=f"*.host{n}.example.com", port=443, protocol="rest", access="read-only"),),
            binaries=(Binary(path="/usr/bin/curl"), Binary(path="/opt/**")),
        )
        for n in range(100)
    }
    judged = Judge(Policy(network_policies=networks))
    ask = Ask("a.host99.example.com", 443, ("/opt/a/b", "/bin/sh"), "GET", "/repos/a/b")
    best = min(_seconds(judged, ask) for _ in range(5))
    assert best < 300e-6  # some 20 on a quiet machine


def _seconds(judged: Judge, ask: Ask) -> float:
    started = time.perf_counter()
    for _ in range(100):
        assert judged.request(ask).allowed
    return (time.perf_counter() - started) / 100


WORDS = st.text("ab*?/.", max_size=12)


def naive(pattern: list[str], text: list[str]) -> bool:
    """Segments against segments, by trying everything."""
    if not pattern:
        return not text
    if pattern[0] == "**":
        return any(naive(pattern[1:], text[n:]) for n in range(1, len(text) + 1))
    return bool(text) and within(pattern[0], text[0]) and naive(pattern[1:], text[1:])


def within(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(within(pattern[1:], text[n:]) for n in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and within(pattern[1:], text[1:])


@given(pattern=WORDS, text=st.text("ab/.", max_size=10), separator=st.sampled_from("/."))
def test_patterns_match_what_trying_every_way_matches(pattern: str, text: str, separator: str) -> None:
    found = compile_glob(pattern, separator).fullmatch(text) is not None
    assert found == naive(pattern.split(separator), text.split(separator))


@pytest.mark.requirement("sandbox:policy-patterns-bounded")
@pytest.mark.parametrize("pattern", ["/**/a/**/a/**/a/**/b", "/*a*a*a*a*a*a*b", "**/a*a*a*b/**/c", "/**/a*/**/a*/**/x"])
def test_no_text_makes_a_pattern_slow(pattern: str) -> None:
    compiled = compile_glob(pattern, "/")
    started = time.perf_counter()
    for text in ("/a" * 8000, "/" + "a" * 16000, "/" + "a/aa" * 4000):
        assert compiled.fullmatch(text) is None
    assert time.perf_counter() - started < 2


@given(st.text(max_size=30))
def test_hosts_and_paths_have_one_spelling_that_stays_as_it_is(text: str) -> None:
    host = canonical_host(text)
    assert host is None or canonical_host(host) == host
    path = canonical_path("/" + text)
    assert path is None or path.startswith("/")
    assert path is None or "/../" not in path + "/"


@pytest.mark.requirement("sandbox:policy-calls")
@pytest.mark.parametrize(
    ("host", "calls", "expected"),
    [
        ("mcp.example.com", (Call(method="initialize"),), "allow"),
        ("mcp.example.com", (Call(method="tools/call", tool="search"),), "allow"),
        ("mcp.example.com", (Call(method="tools/call", tool="list.issues"),), "allow"),
        ("mcp.example.com", (Call(method="tools/call", tool="delete"),), "deny"),
        ("mcp.example.com", (Call(method="tools/call", tool="search"), Call(method="ping")), "deny"),
        ("mcp.example.com", (Call(method="tools/call", tool="se arch"),), "deny"),
        ("mcp.example.com", (), "deny"),
        ("core.example.com", (Call(method="resources/list"),), "allow"),
        ("core.example.com", (Call(method="tools/call", tool="anything"),), "allow"),
        ("core.example.com", (Call(method="tools/call", tool="send"),), "deny"),
        ("core.example.com", (Call(method="vendor/extension"),), "deny"),
        ("rpc.example.com", (Call(method="reports.list"),), "allow"),
        ("rpc.example.com", (Call(method="reports.delete"),), "deny"),
        ("rpc.example.com", (Call(method="reports.list"), Call(method="reports.delete")), "deny"),
        ("rpc.example.com", (), "deny"),
        ("ql.example.com", (Call(operation_type="query", fields=("viewer",)),), "allow"),
        ("ql.example.com", (Call(operation_type="query", fields=("viewer", "secrets")),), "deny"),
        ("ql.example.com", (Call(operation_type="mutation", fields=("deleteAll",)),), "deny"),
        ("ql.example.com", (Call(operation_type="mutation", operation_name="IssueNew", fields=("x",)),), "allow"),
        ("ql.example.com", (Call(persisted="abc"),), "allow"),
        ("ql.example.com", (Call(persisted="def"),), "deny"),
        ("ql.example.com", (), "deny"),
        ("rw.example.com", (Call(operation_type="mutation"),), "allow"),
        ("rw.example.com", (Call(operation_type="subscription"),), "deny"),
    ],
)
def test_what_a_body_asks_for_is_judged_call_by_call(host: str, calls: tuple[Call, ...], expected: str) -> None:
    decision = judge("calls").request(Ask(host, 443, CURL, "POST", "/", calls=calls))
    assert outcome(decision) == expected, decision.reason


@pytest.mark.requirement("sandbox:policy-calls")
@pytest.mark.parametrize(
    ("host", "method", "expected"),
    [
        ("mcp.example.com", "GET", "allow"),  # the stream of the server
        ("mcp.example.com", "DELETE", "deny"),
        ("ws.example.com", "GET", "allow"),
        ("ws.example.com", "WEBSOCKET_TEXT", "deny"),
        ("wsfull.example.com", "WEBSOCKET_TEXT", "allow"),
        ("db.example.com", "SELECT", "allow"),
        ("db.example.com", "DROP", "audit"),
    ],
)
def test_what_has_no_body_is_judged_by_its_method(host: str, method: str, expected: str) -> None:
    decision = judge("calls").request(Ask(host, 443, CURL, method, "/"))
    assert outcome(decision) == expected, decision.reason
