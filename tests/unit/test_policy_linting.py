"""Findings about documents that are right and careless, and what would be decided about a question."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from holdfast.errors import UsageError
from holdfast.sandbox.policy.explaining import Touch, explain, question_of
from holdfast.sandbox.policy.judging import Ask, Connect
from holdfast.sandbox.policy.linting import lint
from holdfast.sandbox.policy.loading import Document, examine, load_profile
from holdfast.sandbox.policy.openshell import Endpoint, NetworkPolicy, Policy
from holdfast.sandbox.policy.profile import Profile

FOLDER = Path(__file__).with_name("policies")


@pytest.mark.requirement("sandbox:policy-lint")
def test_each_carelessness_is_found_in_its_line_and_nothing_else_is() -> None:
    text = (FOLDER / "careless.yaml").read_text("utf-8")
    document = examine(text)
    assert document.problems == ()
    wanted = {
        (n, code)
        for n, line in enumerate(text.splitlines(), 1)
        if (found := re.search(r"#\? (.*)", line))
        for code in found[1].split()
    }
    findings = lint(document)
    found = {(each.mark.line, each.code) for each in findings}
    assert found == wanted
    assert [each.text for each in findings if not re.search(r"; |, so ", each.text)] == []


@pytest.mark.requirement("sandbox:openshell-policy-strict", "sandbox:policy-audit-is-reported")
@pytest.mark.parametrize("said", ["", "enforcement: audit"])
def test_a_rule_that_does_not_enforce_is_reported_as_audit_only(said: str) -> None:
    text = f"""version: 1
network_policies:
  a:
    endpoints:
      - host: api.example.com
        port: 443
        protocol: rest
        access: read-only
        {said}
    binaries: [/usr/bin/git]
"""
    (finding,) = [each for each in lint(examine(text)) if each.severity == "high"]
    assert finding.code == "audit-only"
    assert finding.mark.line == (9 if said else 5)
    assert "enforcement: enforce" in finding.text
    assert str(finding).startswith(f"{finding.mark.line}:")


def test_a_value_that_was_never_a_document_is_linted_as_well() -> None:
    policy = Policy(network_policies={"a": NetworkPolicy(endpoints=(Endpoint(host="*.a.example.com", port=443),))})
    found = {each.code for each in lint(Document(value=Profile(policy=policy)))}
    assert {"wildcard-host", "no-binaries", "any-request", "landlock-optional"} == found


def test_the_profile_people_get_without_one_has_no_high_findings() -> None:
    assert [each for each in lint(Document(value=Profile())) if each.severity == "high"] == []


PROFILE = """
kind: SandboxProfile
policy:
  version: 1
  filesystem_policy: { include_workdir: true, read_only: [/usr, /etc/ssl], read_write: [/tmp/] }
  network_policies:
    web:
      endpoints: [{ host: api.example.com, port: 443, protocol: rest, enforcement: enforce, access: read-only }]
      binaries: [/usr/bin/curl]
workspace: { protect: [.git/hooks] }
"""


@pytest.mark.requirement("sandbox:policy-explain")
@pytest.mark.parametrize(
    ("words", "allowed", "reason"),
    [
        ("read /usr/bin/git", True, "read_only"),
        ("read /usr", True, "read_only"),
        ("write /usr/bin/git", False, "add it to read_write"),
        ("read /usr/../srv/.ssh/id", False, "no path that is listed"),
        ("read /usrlocal", False, "no path that is listed"),
        ("write /tmp/x", True, "read_write"),
        ("write src/app.py", True, "the workspace"),
        ("write ../outside", False, "no path that is listed"),
        ("read .git/hooks/pre-commit", True, "the workspace"),
        ("write .git/hooks/pre-commit", False, "workspace.protect"),
        ("write .git/hooks", False, "workspace.protect"),
        ("write .git/hooks2", True, "the workspace"),
        ("connect api.example.com:443 /usr/bin/curl", True, "'web'"),
        ("connect api.example.com:443", False, "name the program behind the address"),
        ("connect api.example.com:22 /usr/bin/curl", False, "only to 443"),
        ("GET https://api.example.com/x?y=1 /usr/bin/curl", True, "'web' allows GET /x"),
        ("POST https://api.example.com/x /bin/sh /usr/bin/curl", False, "read-only"),
        ("GET https://other.example.com/ /usr/bin/curl", False, "no rule leads to"),
    ],
)
def test_a_question_is_answered_with_what_decided(words: str, allowed: bool, reason: str) -> None:
    decision = explain(load_profile(PROFILE), question_of(words.split()))
    assert decision.allowed is allowed
    assert reason in decision.reason


def test_without_a_block_about_files_the_workspace_can_be_written() -> None:
    assert explain(Profile(), Touch("a", write=True)).allowed
    assert explain(Profile(), Touch("/srv/a", write=True), workdir="/srv").allowed
    assert explain(Profile(), Touch("/usr/bin/git")).allowed
    assert not explain(Profile(), Touch("/usr/bin/git", write=True)).allowed
    closed = load_profile("version: 1\nfilesystem_policy: {}\n")
    assert not explain(closed, Touch("a", write=True)).allowed
    assert explain(closed, Touch("a")).allowed
    assert not explain(closed, Touch("/usr/bin/git")).allowed


@pytest.mark.parametrize(
    ("path", "write", "allowed"),
    [
        ("/tmp/x", True, True),
        ("/dev/shm/x", True, True),
        ("/dev/null", True, True),
        ("/proc/self/status", False, True),
        ("/proc/sys/kernel/core_pattern", True, False),
        ("/dev/sda", True, False),
    ],
)
def test_what_each_sandbox_has_of_its_own_needs_no_rule(path: str, write: bool, allowed: bool) -> None:
    closed = load_profile("version: 1\nfilesystem_policy: {}\n")
    assert explain(closed, Touch(path, write=write)).allowed is allowed


def test_without_isolation_every_question_is_answered_with_that() -> None:
    decision = explain(Profile(backend="none"), Touch("/etc/shadow", write=True))
    assert decision.allowed
    assert "keeps nothing in" in decision.reason


def test_questions_are_made_of_words() -> None:
    assert question_of(["connect", "a.example.com:22", "/a", "/b"]) == Connect("a.example.com", 22, ("/a", "/b"))
    assert question_of(["PUT", "http://a.example.com"]) == Ask("a.example.com", 80, (), "PUT", "/", "")
    assert question_of(["connect", "[fd00::1]:22"]) == Connect("fd00::1", 22, ())


@pytest.mark.parametrize(
    "words", ["", "read", "fly there", "connect a.example.com", "GET https://[x", "GET x:99999", "- x:1"]
)
def test_what_is_no_question_is_refused_with_how_to_ask(words: str) -> None:
    with pytest.raises(UsageError, match="ask it like"):
        question_of(words.split())
