"""Documents: what is read, and how what is wrong with them is said."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UsageError
from holdfast.sandbox.policy.loading import examine, load, load_profile
from holdfast.sandbox.policy.openshell import SYSTEM, AnyOf, Binary, FilesystemPolicy, Policy
from holdfast.sandbox.policy.profile import Pooling, Profile

FOLDER = Path(__file__).with_name("policies")


def hostile() -> list[tuple[str, str]]:
    found = re.split(r"^=== (.*)\n", (FOLDER / "hostile.txt").read_text("utf-8"), flags=re.MULTILINE)
    return list(zip(found[1::2], found[2::2], strict=True))


@pytest.mark.requirement("sandbox:openshell-policy-strict", "sandbox:policy-refusals-have-lines")
@pytest.mark.parametrize(("name", "text"), hostile(), ids=[name for name, _ in hostile()])
def test_a_document_that_breaks_a_rule_is_refused_with_each_of_its_lines(name: str, text: str) -> None:
    wanted = {n: m[1].strip() for n, line in enumerate(text.splitlines(), 1) if (m := re.search(r"#!(.*)", line))}
    problems = examine(text).problems
    said: dict[int, str] = {}
    for each in problems:
        said[each.mark.line] = said.get(each.mark.line, "") + each.text
    assert sorted(said) == sorted(wanted), "\n".join(map(str, problems))
    assert [said[n] for n, words in wanted.items() if words not in said[n]] == []
    with pytest.raises(UsageError, match=rf"^{name}:{min(wanted)}:\d+: "):
        load(text, name)


def test_there_are_forty_hostile_documents() -> None:
    assert len(hostile()) >= 40


def test_an_error_lists_every_problem_with_line_and_column() -> None:
    text = "version: 1\nfilesystem_policy:\n  read_only: [usr]\nprocess:\n  run_as_user: root\n"
    with pytest.raises(UsageError) as caught:
        load(text, "agent.yaml")
    first, second = str(caught.value).splitlines()
    assert first.startswith("agent.yaml:3:15: filesystem_policy.read_only[0]: 'usr' is not absolute")
    assert second.startswith("agent.yaml:5:3: process.run_as_user: 'root' is the superuser")


@pytest.mark.requirement("sandbox:policy-bounded")
def test_documents_over_their_bounds_are_refused_quickly() -> None:
    laughs = "version: 1\na0: &a0 [x]\n"
    laughs += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    documents = {
        "is the most": b"#" * (4 * 1024 * 1024 + 1),
        "nested deeper": "version: 1\nnetwork_policies: " + "[" * 100_000,
        "deeper than": "".join(" " * n + "a:\n" for n in range(2000)),
        "counting what aliases": laughs,
        "more than 100 aliases": "version: &a 1\nx: [" + "*a, " * 101 + "]",
        "more than 100,000 values": "version: 1\nnetwork_policies: [" + "1," * 200_000 + "]",
        "no text": "version: 1\nprocess: {run_as_user: 'a\0b'}",
        "no UTF-8": b"version: 1\n# \xff\xfe",
        "is empty": "",
    }
    for words, text in documents.items():
        started = time.perf_counter()
        problems = examine(text).problems
        assert any(words in each.text for each in problems), (words, problems)
        assert time.perf_counter() - started < 5


@pytest.mark.requirement("sandbox:policy-bounded")
def test_a_policy_has_at_most_256_paths_of_4096_bytes() -> None:
    many = "version: 1\nfilesystem_policy:\n  read_only: [" + ", ".join(f"/p{n}" for n in range(257)) + "]\n"
    assert ["it lists 257 paths" in each.text for each in examine(many).problems] == [True]
    assert examine(many.replace(", /p256", "")).problems == ()
    long = "version: 1\nfilesystem_policy:\n  read_only: [/" + "p" * 4096 + "]\n"
    assert ["longer than 4,096" in each.text for each in examine(long).problems] == [True]
    assert examine(long.replace("/p", "/", 1)).problems == ()


def test_at_most_ten_middlewares_with_32_patterns_each() -> None:
    def text(count: int, patterns: int) -> str:
        hosts = ", ".join(f"h{n}.example.com" for n in range(patterns))
        lines = [f"  m{n}: {{ middleware: x, order: {n}, endpoints: {{ include: [{hosts}] }} }}" for n in range(count)]
        return "\n".join(["version: 1", "network_middlewares:", *lines])

    assert examine(text(10, 32)).problems == ()
    assert ["10 is the most" in each.text for each in examine(text(11, 32)).problems] == [True]
    assert ["more than 32" in each.text for each in examine(text(1, 33)).problems] == [True]


def test_a_pure_document_is_a_policy_and_a_profile_has_one_inside() -> None:
    pure = load("version: 1\n")
    assert pure == Policy()
    assert load_profile("version: 1\n") == Profile()
    text = """
kind: SandboxProfile
backend: native
require: [netns, landlock>=4]
policy:
  version: 1
  process: { run_as_user: "1500" }
limits: { memory: 512Mi, cpus: 1.5, wall: 120s, cpu: 1500ms, disk: 1G, file: 4096, pids: null, sandboxes: 10 }
pool: { reuse: never, ready: 4 }
workspace: { protect: [.git/hooks, AGENTS.md] }
env: { allow: [LANG], secrets: { API_KEY: [api.example.com] } }
"""
    profile = load(text)
    assert isinstance(profile, Profile)
    assert profile.policy.process.run_as_user == "1500"
    limits = profile.limits
    assert (limits.memory, limits.cpus, limits.disk, limits.file) == (512 * 1024**2, 1.5, 10**9, 4096)
    assert (limits.wall, limits.cpu, limits.pids, limits.nofile) == (120.0, 1.5, None, 1024)
    assert (limits.sandboxes, profile.pool) == (10, Pooling(reuse="never", ready=4))
    assert profile.workspace.protect == (".git/hooks", "AGENTS.md")
    assert profile.env.secrets == {"API_KEY": ("api.example.com",)}
    assert profile.require == ("netns", "landlock>=4")


@pytest.mark.requirement("sandbox:policy-workdir-default")
def test_a_left_out_filesystem_block_lets_the_workspace_be_written_and_a_present_one_does_not() -> None:
    left_out, present = load("version: 1\n"), load("version: 1\nfilesystem_policy: {}\n")
    assert isinstance(left_out, Policy)
    assert isinstance(present, Policy)
    assert left_out.filesystem == FilesystemPolicy(include_workdir=True, read_only=SYSTEM)
    assert present.filesystem == FilesystemPolicy(include_workdir=False)


def test_binaries_are_texts_or_objects() -> None:
    policy = load("version: 1\nnetwork_policies: { a: { binaries: [/usr/bin/git, { path: /usr/bin/gh }] } }\n")
    assert isinstance(policy, Policy)
    assert policy.network_policies["a"].binaries == (Binary(path="/usr/bin/git"), Binary(path="/usr/bin/gh"))


def test_values_are_what_their_place_makes_them_and_not_what_yaml_1_1_does() -> None:
    policy = load((FOLDER / "calls.yaml").read_bytes())
    assert isinstance(policy, Policy)
    assert policy.network_middlewares["redact"].config == {"mode": "redact", "limits": [1, 2.5, True, None, "text"]}
    rules = policy.network_policies["calls"].endpoints[0].rules
    assert rules is not None
    assert rules[3].allow.tool == AnyOf(any=("list.*", "show"))
    named = load("version: 1\nnetwork_policies: { no: { name: on, endpoints: [{ host: off, port: 0443 }] } }\n")
    assert isinstance(named, Policy)
    assert named.network_policies["no"].name == "on"
    assert named.network_policies["no"].endpoints[0].host == "off"
    assert named.network_policies["no"].endpoints[0].port == 443


def test_a_few_aliases_are_followed_and_their_problems_have_the_line_of_what_they_stand_for() -> None:
    text = "version: 1\nnetwork_policies:\n  a: { binaries: &b [/usr/bin/git] }\n  c: { binaries: *b }\n"
    policy = load(text)
    assert isinstance(policy, Policy)
    assert policy.network_policies["c"] == policy.network_policies["a"]


@given(st.text(alphabet="version: 1\n-[]{}&*a'\"#!?|>%@`,~\t", max_size=60))
def test_no_text_makes_reading_fail_in_another_way(text: str) -> None:
    document = examine(text)
    assert document.problems or isinstance(document.value, Policy | Profile)
